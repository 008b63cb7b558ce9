//! A home's contribution, shared among the aggregators.
