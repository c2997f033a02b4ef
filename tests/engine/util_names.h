/* util_names - sets of names that tests of the taxonomy constraint share. */
#ifndef FC_TESTS_ENGINE_UTIL_NAMES_H
#define FC_TESTS_ENGINE_UTIL_NAMES_H

/* Some begin others, some have long ends that nothing else shares. */
static const char *const mixed_names[] = {
    "Art",           "Art History",  "Art History of France",
    "Art Deco",      "Baking",       "Baking Bread",
    "Board Games",   "Chess",        "Chess Openings",
    "Cooking",       "Coffee",       "Cycling",
    "Design",        "Documentary",  "Drawing",
    "Fantasy",       "Fashion",      "Fishing",
    "Food",          "Food Science", "Garden",
    "Garden Design", "Guitar",       "Hiking",
    "History",       "Home",         "Home Cinema",
    "Jazz",          "Knitting",     "Music",
    "Music Theory",  "Mystery",      "Nature",
    "Night Sky",     "Ocean",        "Painting",
    "Photo",         "Running",      "Science",
    "Winter Sports",
};
enum { MIXED = sizeof mixed_names / sizeof *mixed_names };

#endif
