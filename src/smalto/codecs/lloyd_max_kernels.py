"""The loops of the Lloyd-Max transform as machine code: nearest levels, table look-ups, sums and rounds of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from smalto.bits.compiled import compiled

CHUNK_VALUES = 2048
ORDER_MASK = 0x7FFFFFFF  # turns negative floats' patterns round, so that keys rise with values
Integer = Any  # inside a kernel every integer is an int64, whatever Python would make of it
Array = np.ndarray


@compiled
def nearest_levels(
    values: Array, patterns: Array, cells: Array, starts: Array, thresholds: Array, geometry: Array, out: Array
) -> None:
    """The number of thresholds below each value; a NaN takes ``geometry[4]``.

    A value's bit pattern, made to rise with the value and shifted right, is its cell; the cell tells how many
    thresholds lie below all of it; then ``num_steps`` halvings, without a branch, count those inside it.

    Args:
        values: (N,) float32 or float64.
        patterns: (N,) int32, the bits of the values in float32.
        cells: (2048,) uint16, room for the cells of a chunk.
        starts: (C,) uint8.
        thresholds: (512,) of the values' dtype, rising, then +inf.
        geometry: int64 first key, last key, shift, num_steps, index for NaN.
        out: (N,) uint8, filled.
    """
    first, last, shift, num_steps, missing = geometry
    base = first >> shift
    for at in range(0, len(values), CHUNK_VALUES):
        count = min(CHUNK_VALUES, len(values) - at)
        num_missing = 0
        for i in range(count):
            pattern = np.int64(patterns[np.uint64(at + i)])
            key = min(max(pattern ^ ((pattern >> 63) & ORDER_MASK), first), last)
            cells[np.uint64(i)] = np.uint16((key >> shift) - base)
            num_missing += values[np.uint64(at + i)] != values[np.uint64(at + i)]
        if num_steps == 1:
            for i in range(count):
                index = np.uint64(starts[np.uint64(cells[np.uint64(i)])])
                index += np.uint64(values[np.uint64(at + i)] > thresholds[index])
                out[np.uint64(at + i)] = index
        else:
            for i in range(count):
                value = values[np.uint64(at + i)]
                index = np.uint64(starts[np.uint64(cells[np.uint64(i)])])
                for step in range(num_steps - 1, -1, -1):
                    half = np.uint64(1) << np.uint64(step)
                    index += np.uint64(value > thresholds[index + half - np.uint64(1)]) << np.uint64(step)
                out[np.uint64(at + i)] = index
        if num_missing:
            for i in range(at, at + count):
                if values[i] != values[i]:
                    out[i] = missing


@compiled
def look_up_patterns(table: Array, patterns: Array, out: Array) -> None:
    """``out = table[patterns]`` for 16-bit patterns and a table of 65,536 bytes, eight at a time.

    Args:
        table: (65536,) uint8.
        patterns: (N,) uint64, four 16-bit patterns each, the first in the low bits; N even.
        out: (N / 2,) uint64, eight bytes each.
    """
    low, wide = np.uint64(0xFFFF), np.uint64(16)
    for i in range(len(out)):
        near, far = patterns[np.uint64(2 * i)], patterns[np.uint64(2 * i + 1)]
        word = np.uint64(0)
        for k in range(4):
            shift = np.uint64(8 * k)
            word |= np.uint64(table[near & low]) << shift
            word |= np.uint64(table[far & low]) << (shift + np.uint64(32))
            near >>= wide
            far >>= wide
        out[np.uint64(i)] = word


@compiled
def look_up_levels(levels: Array, indexes: Array, out: Array) -> None:
    """``out = levels[indexes]``, eight at a time.

    Args:
        levels: (256,) of any dtype.
        indexes: (N,) uint64, eight indexes each, the first in the low bits.
        out: (8 N,) of the levels' dtype.
    """
    for i in range(len(indexes)):
        word = indexes[np.uint64(i)]
        place = np.uint64(8 * i)
        for k in range(8):
            out[place + np.uint64(k)] = levels[(word >> np.uint64(8 * k)) & np.uint64(0xFF)]


@compiled
def count_patterns(patterns: Array, counts: Array) -> None:
    """Add to ``counts`` (65536,) int64 how often each 16-bit pattern occurs."""
    for i in range(len(patterns)):
        counts[np.uint64(patterns[np.uint64(i)])] += 1


@compiled
def block_sums(values: Array, weights: Array, centre: float, size: Integer, sums: Array, masses: Array) -> None:
    """Fill the sum of weight x (value - centre) and the weight of each block of ``size`` values."""
    for block in range(len(sums)):
        total, mass = 0.0, np.int64(0)
        for i in range(block * size, min((block + 1) * size, len(values))):
            total += weights[i] * (np.float64(values[i]) - centre)
            mass += weights[i]
        sums[block] = total
        masses[block] = mass


@compiled
def _move_edges(values: Array, levels: Array, edges: Array) -> None:
    """Assignment (equation 5): the first value of each region, sought from where it was."""
    n = len(values)
    for k in range(1, len(levels)):
        threshold = 0.5 * (levels[k - 1] + levels[k])
        if threshold >= levels[k]:  # neighbours among the floats
            threshold = levels[k - 1]
        low, high, stride = np.int64(edges[k]), np.int64(edges[k]), 1
        while low > 0 and values[low - 1] > threshold:  # everything from high on is above
            high = low - 1
            low = max(0, low - stride)
            stride *= 2
        stride = 1
        if high == edges[k]:
            while high < n and values[high] <= threshold:  # everything in front of low is at or below
                low = high + 1
                high = min(n, high + stride)
                stride *= 2
        while low < high:
            middle = (low + high) >> 1
            if values[middle] > threshold:
                high = middle
            else:
                low = middle + 1
        edges[k] = low


@compiled
def lloyd_rounds(
    values: Array, weights: Array, sums: Array, masses: Array, levels: Array, edges: Array, state: Array
) -> Integer:
    """Rounds of assignment (equation 5) and update (equation 6) until the gain is small or a region is empty.

    Args:
        values: (n,) rising.
        weights: (n,) int64, how often each value occurs.
        sums: (n / block + 1,) centred sums in front of each block, zero in the middle, so that far values do not
            drown the near ones.
        masses: (n / block + 1,) int64 number of values in front of each block.
        levels: (L,) float64 rising, moved.
        edges: (L + 1,) int64 first value of each region, moved; the last is n.
        state: float64 log2 of the block, centre, most rounds, gain at which to stop; [4] takes the last gain: by how
            much the update lowered the squared error, summed over all values.

    Returns:
        The number of rounds made, negative if the last one met an empty region (its levels stay as they were).
    """
    log_block, centre, most, target = np.int64(state[0]), state[1], np.int64(state[2]), state[3]
    for done in range(1, most + 1):
        _move_edges(values, levels, edges)
        gain, sum_before, mass_before, is_empty = 0.0, sums[0], np.int64(0), False
        for k in range(len(levels)):
            edge = edges[k + 1]
            block = edge >> log_block
            total, mass = sums[block], masses[block]
            for i in range(block << log_block, edge):
                total += weights[i] * (np.float64(values[i]) - centre)
                mass += weights[i]
            count = mass - mass_before
            if count <= 0:
                is_empty = True
            else:
                mean = centre + (total - sum_before) / count
                mean = min(max(mean, np.float64(values[edges[k]])), np.float64(values[edge - 1]))
                gain += count * (mean - levels[k]) ** 2
                levels[k] = mean
            sum_before, mass_before = total, mass
        state[4] = gain
        if is_empty:
            return -done
        if gain <= target:
            return done
    return most


@compiled
def squared_errors(values: Array, weights: Array, levels: Array, edges: Array, errors: Array) -> None:
    """The summed squared error of each region, straight from its values."""
    for k in range(len(levels)):
        total, level = 0.0, levels[k]
        for i in range(edges[k], edges[k + 1]):
            total += weights[i] * (np.float64(values[i]) - level) ** 2
        errors[k] = total


@compiled
def group_moments(values: Array, weights: Array, edges: Array, centre: float, moments: Array, within: Array) -> None:
    """Mass, centred sum and centred sum of squares of each group of values, without cancellation inside a group.

    Args:
        values: (n,) rising.
        weights: (n,) int64.
        edges: (G + 1,) int64 places, no group empty.
        centre: subtracted from the values.
        moments: (3, G) float64, filled.
        within: (G,) float64, filled: the squared error about the group's mean.
    """
    for group in range(len(edges) - 1):
        first = np.float64(values[edges[group]])
        mass, total, squares = 0.0, 0.0, 0.0
        for i in range(edges[group], edges[group + 1]):
            distance = np.float64(values[i]) - first
            mass += weights[i]
            total += weights[i] * distance
            squares += weights[i] * distance * distance
        mean = total / mass
        offset = first + mean - centre
        moments[0, group] = mass
        moments[1, group] = mass * offset
        within[group] = max(0.0, squares - total * mean)
        moments[2, group] = within[group] + mass * offset * offset


@compiled
def best_partition(
    moments: Array, within: Array, num_parts: Integer, costs: Array, choices: Array, stack: Array
) -> None:
    """The cut of G groups in a row into parts with the least squared error about the parts' means, by induction.

    The last cut of the best k parts of the first j groups never moves left as j grows, so each part more costs
    O(G log G) by halving.

    Args:
        moments: (3, G + 1) float64 mass, centred sum and centred sum of squares in front of each group.
        within: (G,) float64 squared error of each group as a part of its own, exact where moments cancel.
        num_parts: L, at most G.
        costs: (2, G + 1) float64, room.
        choices: (L, G + 1) int32, filled: where the last of k + 1 parts of the first j groups begins.
        stack: (64, 4) int64, room.
    """
    num_groups = moments.shape[1] - 1
    for part in range(num_parts):
        now, before = part & 1, 1 - (part & 1)
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = part + 1, num_groups, part, num_groups - 1
        depth = 1
        while depth:
            depth -= 1
            low, high, first, last = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3]
            middle = (low + high) >> 1
            least, chosen = np.inf, first
            for cut in range(first, (min(last, middle - 1) if part else 0) + 1):
                total = moments[1, middle] - moments[1, cut]
                square = moments[2, middle] - moments[2, cut]
                cost = max(0.0, square - total * total / (moments[0, middle] - moments[0, cut]))
                if cut == middle - 1:
                    cost = within[cut]
                if part:
                    cost += costs[before, cut]
                if cost < least:
                    least, chosen = cost, cut
            costs[now, middle] = least
            choices[part, middle] = chosen
            if low < middle:
                stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = low, middle - 1, first, chosen
                depth += 1
            if middle < high:
                stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = middle + 1, high, chosen, last
                depth += 1
