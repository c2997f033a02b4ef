/* chart - lines over one axis as inline SVG, whose colours a page's style sheet gives: classes s0, s1, ... */
#ifndef FC_APP_BENCH_CHART_H
#define FC_APP_BENCH_CHART_H

#include "engine/base/str.h"

enum { CHART_LINES = 8, CHART_POINTS = 64 };

typedef struct {
    const char *name;
    double x[CHART_POINTS], y[CHART_POINTS]; /* y NAN: no point there */
    int n;
} chart_line;

typedef struct {
    const char *title, *x_name, *y_name;
    bool log_x, log_y; /* what is not above 0 is left out then */
    chart_line lines[CHART_LINES];
    int n;
} chart;

/* A line without points, of that name. NULL: there is no room. */
chart_line *chart_add(chart *c, const char *name);
void chart_point(chart_line *l, double x, double y); /* past CHART_POINTS: left out */
/* Nothing where no line has a point. */
fc_status chart_svg(const chart *c, fc_str *out);
/* Text where HTML may have marks. */
fc_status chart_text(const char *text, fc_str *out);

#endif
