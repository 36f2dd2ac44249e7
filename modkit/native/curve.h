/* What a decode of n tokens costs, learned from every decode: a table of seconds by batch size.
 *
 * On a CPU it is far from a line: with some quantisations two tokens cost four times what one costs, with
 * others four cost little more than two. So sizes up to 16 are kept one by one, larger ones by knots, and
 * what was never seen is estimated from its neighbours. The worker's own; no allocation, no lock.
 */
#ifndef MK_CURVE_H
#define MK_CURVE_H

#include <stdbool.h>
#include <stdint.h>

enum { MK_KNOTS = 52, MK_STALE = 600 /* decodes after which a price that was seen twice may have changed */ };

typedef struct mk_curve {
    double seconds[MK_KNOTS]; /* of a decode of that size; 0: never seen */
    uint32_t seen[MK_KNOTS];  /* mk_curve.decodes when it was last measured */
    uint8_t sure[MK_KNOTS];   /* 0: seen once; 1: oftener; and the more, the oftener it was as expected */
    double hearsay[MK_KNOTS]; /* what the other sizes have multiplied it by since */
    uint32_t decodes;
} mk_curve;

/* Seconds of a decode of n tokens; 0 while nothing is known at all. */
double mk_curve_at(const mk_curve *c, int32_t n);
/* True when a decode of about n tokens was measured, not too many measured decodes ago, and what others have shown since
 * has not moved it far. How many are too many: few when it was seen once, and the more the oftener nothing was new. */
bool mk_curve_knows(const mk_curve *c, int32_t n);
/* The same of any time ago. */
bool mk_curve_knew(const mk_curve *c, int32_t n);
/* The largest size that was ever measured; 0 when none was. */
int32_t mk_curve_most(const mk_curve *c);
void mk_curve_learn(mk_curve *c, int32_t n, double seconds);

#endif
