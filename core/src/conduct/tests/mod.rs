//! Whole queries at the Conductor, with everybody else in memory.

mod adverse;
mod blame;
mod honest;
mod interrupted;
mod noisy;
mod sessions;
mod unread;
