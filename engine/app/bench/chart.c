#include "engine/app/bench/chart.h"

#include <math.h>

enum { WIDTH = 640, HEIGHT = 320, LEFT = 64, RIGHT = 20, TOP = 34, BOTTOM = 46, TICKS = 12 };

typedef struct {
    double low, high;
    bool log;
    double ticks[TICKS];
    int n;
} axis;

chart_line *chart_add(chart *c, const char *name) {
    if (c->n == CHART_LINES) return NULL;
    c->lines[c->n] = (chart_line){.name = name};
    return &c->lines[c->n++];
}

void chart_point(chart_line *l, double x, double y) {
    if (!l || l->n == CHART_POINTS) return;
    l->x[l->n] = x;
    l->y[l->n++] = y;
}

fc_status chart_text(const char *text, fc_str *out) {
    for (; *text; text++) {
        const char *as = *text == '<'   ? "&lt;"
                         : *text == '>' ? "&gt;"
                         : *text == '&' ? "&amp;"
                         : *text == '"' ? "&quot;"
                                        : NULL;
        FC_TRY(as ? fc_str_puts(out, as) : fc_str_put(out, text, 1));
    }
    return FC_OK;
}

/* ---- axes ---- */

static bool shown(const chart *c, const chart_line *l, int i) {
    return isfinite(l->y[i]) && (!c->log_y || l->y[i] > 0) && (!c->log_x || l->x[i] > 0);
}

/* What the points span; false without any. */
static bool span(const chart *c, bool y, double *low, double *high) {
    bool some = false;
    for (int k = 0; k < c->n; k++)
        for (int i = 0; i < c->lines[k].n; i++) {
            double v = y ? c->lines[k].y[i] : c->lines[k].x[i];
            if (!shown(c, &c->lines[k], i)) continue;
            if (!some || v < *low) *low = v;
            if (!some || v > *high) *high = v;
            some = true;
        }
    return some;
}

/* 1, 2 or 5 times a power of ten, so that about four fit. */
static double step_of(double range) {
    double power = pow(10, floor(log10(range / 4))), part = range / 4 / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

static void even_ticks(axis *a) {
    double step = step_of(a->high - a->low);
    a->low = floor(a->low / step) * step;
    a->high = ceil(a->high / step) * step;
    for (double v = a->low; v <= a->high + step / 2 && a->n < TICKS; v += step) a->ticks[a->n++] = v;
}

/* Powers of two where they are few (counts of candidates), else of ten. */
static void log_ticks(axis *a) {
    double base = log2(a->high / a->low) <= TICKS - 2 ? 2 : 10;
    double first = floor(log(a->low) / log(base) + 1e-9), last = ceil(log(a->high) / log(base) - 1e-9);
    if (last <= first) last = first + 1;
    a->low = pow(base, first);
    a->high = pow(base, last);
    for (double e = first; e <= last && a->n < TICKS; e++) a->ticks[a->n++] = pow(base, e);
}

static axis make_axis(double low, double high, bool log_scale) {
    axis a = {.low = low, .high = high, .log = log_scale};
    if (!log_scale && high - low < fabs(high) * 1e-9 + 1e-12) {
        a.low -= fabs(low) / 2 + 0.5;
        a.high += fabs(high) / 2 + 0.5;
    }
    if (log_scale) log_ticks(&a);
    else even_ticks(&a);
    return a;
}

static double place(const axis *a, double v) {
    return a->log ? log(v / a->low) / log(a->high / a->low) : (v - a->low) / (a->high - a->low);
}

static double at_x(const axis *a, double v) { return LEFT + place(a, v) * (WIDTH - LEFT - RIGHT); }
static double at_y(const axis *a, double v) { return HEIGHT - BOTTOM - place(a, v) * (HEIGHT - TOP - BOTTOM); }

/* ---- drawing ---- */

static fc_status put_axes(const chart *c, const axis *x, const axis *y, fc_str *out) {
    for (int i = 0; i < y->n; i++) {
        double at = at_y(y, y->ticks[i]);
        FC_TRY(fc_str_printf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
                             WIDTH - RIGHT, at, at));
        FC_TRY(fc_str_printf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>", LEFT - 6, at + 4,
                             y->ticks[i]));
    }
    for (int i = 0; i < x->n; i++)
        FC_TRY(fc_str_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>", at_x(x, x->ticks[i]),
                             HEIGHT - BOTTOM + 18, x->ticks[i]));
    FC_TRY(
        fc_str_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8));
    FC_TRY(chart_text(c->x_name, out));
    FC_TRY(fc_str_printf(out, "</text><text x=\"%d\" y=\"%d\">", LEFT, TOP - 12));
    FC_TRY(chart_text(c->y_name, out));
    return fc_str_puts(out, "</text>\n");
}

static fc_status put_line(const chart *c, int k, const axis *x, const axis *y, fc_str *out) {
    const chart_line *l = &c->lines[k];
    FC_TRY(fc_str_printf(out, "<polyline class=\"s%d\" points=\"", k));
    for (int i = 0; i < l->n; i++)
        if (shown(c, l, i)) FC_TRY(fc_str_printf(out, "%.1f,%.1f ", at_x(x, l->x[i]), at_y(y, l->y[i])));
    FC_TRY(fc_str_puts(out, "\"/>\n"));
    for (int i = 0; i < l->n; i++) {
        if (!shown(c, l, i)) continue;
        FC_TRY(fc_str_printf(out, "<circle class=\"s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>", k,
                             at_x(x, l->x[i]), at_y(y, l->y[i])));
        FC_TRY(chart_text(l->name, out));
        FC_TRY(fc_str_printf(out, ": %.4g at %.4g</title></circle>\n", l->y[i], l->x[i]));
    }
    return FC_OK;
}

static fc_status put_legend(const chart *c, fc_str *out) {
    FC_TRY(fc_str_puts(out, "<p class=\"legend\">"));
    for (int k = 0; k < c->n; k++) {
        FC_TRY(fc_str_printf(out, "<span><i class=\"s%d\"></i>", k));
        FC_TRY(chart_text(c->lines[k].name, out));
        FC_TRY(fc_str_puts(out, "</span> "));
    }
    return fc_str_puts(out, "</p>\n");
}

fc_status chart_svg(const chart *c, fc_str *out) {
    double low_x, high_x, low_y, high_y;
    axis x, y;
    if (!span(c, false, &low_x, &high_x) || !span(c, true, &low_y, &high_y)) return FC_OK;
    if (!c->log_y && low_y > 0) low_y = 0; /* lengths begin at nothing */
    x = make_axis(low_x, high_x, c->log_x);
    y = make_axis(low_y, high_y, c->log_y);
    FC_TRY(fc_str_puts(out, "<figure><figcaption>"));
    FC_TRY(chart_text(c->title, out));
    FC_TRY(fc_str_printf(out, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT));
    FC_TRY(put_axes(c, &x, &y, out));
    for (int k = 0; k < c->n; k++) FC_TRY(put_line(c, k, &x, &y, out));
    FC_TRY(fc_str_puts(out, "</svg>\n"));
    FC_TRY(put_legend(c, out));
    return fc_str_puts(out, "</figure>\n");
}
