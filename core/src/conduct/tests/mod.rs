//! Tests of whole queries at the Conductor, with every other role in memory.

mod adverse;
mod blame;
mod honest;
mod interrupted;
mod noisy;
mod sessions;
mod unread;
