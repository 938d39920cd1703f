/* How a window moves, and which of its rows or columns lie inside the image. */
#ifndef RESTNET_WINDOW_H_
#define RESTNET_WINDOW_H_

/* The place of a number from 0 to count - 1, from the other end where it is reversed. */
static inline int restnet_turn(int number, int count, int reversed) { return reversed ? count - 1 - number : number; }

/* The first tap at or behind 0 of taps at first, first + step and so on. */
static inline int restnet_tap_from(int first, int step) { return first < 0 ? (step - 1 - first) / step : 0; }

/* The tap behind the last one before size. */
static inline int restnet_tap_to(int first, int step, int taps, int size)
{
  const int inside = size > first ? (size - first + step - 1) / step : 0;
  return inside < taps ? inside : taps;
}

#endif /* RESTNET_WINDOW_H_ */
