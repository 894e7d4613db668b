//! Percentiles that are always one of the given values.

/// Returns the smallest of the values that at least `percent` of 100 values do not exceed; `None` without values. `sorted` must
/// be ascending.
pub(crate) fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<_> = (1..=100).collect();
        let cases: [(&[i32], [Option<i32>; 3]); 4] = [
            (&[], [None; 3]),
            (&[7], [Some(7); 3]),
            (&[10, 20, 30], [Some(20), Some(30), Some(30)]),
            (&hundred, [Some(50), Some(95), Some(99)]),
        ];
        for (sorted, expected) in cases {
            assert_eq!([50, 95, 99].map(|percent| percentile(sorted, percent)), expected, "{sorted:?}");
        }
    }
}
