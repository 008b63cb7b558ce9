//! The querier's SDK: plans, submits, opens.
