//! From released sums to a result table.
