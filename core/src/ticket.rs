//! Tickets: proof to the aggregators that the finder chose a home (protocol.md §6).
