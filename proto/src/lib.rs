//! The gRPC messages and services of DISPERS.
