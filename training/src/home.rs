//! A home's part of a round: one vector, from its documents and the round's parameters.

use rand::CryptoRng;

use super::data::{Design, Document};
use super::layout::Layout;
pub use super::scores::State;
use super::{Task, Training, scaling, validation};
use dispers_base::{encoding, id::QueryId, labels};
use dispers_circuit::VectorRow;
use dispers_query::local::LocalQuery;

/// Returns whether a home is held out of a session to validate the model.
///
/// `key` is the home's ticket key. The querier does not know this key, so it cannot choose who is held out (protocol.md
/// §18).
pub fn is_held_out(training: &Training, query: QueryId, key: &[u8; 32]) -> bool {
    let hash = encoding::hash(labels::HASH_HELD_OUT, &[&query.0, key]);
    // Of 64 bits, the remainder is as good as uniform.
    let place = u64::from_le_bytes(hash[..8].try_into().expect("a hash has 32 bytes"));
    place % 1000 < training.held_out.into()
}

/// Returns a home's contribution to a round, rounded to levels.
///
/// Returns `None` for a home that contributes zeros instead: it has no document with all values, `held_out` excludes it
/// from this round, or `state` is not of this model.
pub fn vector(
    training: &Training,
    local: &LocalQuery,
    task: Task,
    state: &State,
    held_out: bool,
    documents: &[Document],
    rng: &mut impl CryptoRng,
) -> Option<VectorRow> {
    let design = Design::of(training, local);
    let rows = design.rows(documents, most_documents(training, &design));
    if rows.is_empty() || !state.holds(design.columns()) {
        return None;
    }
    let values = match task {
        Task::Scale => scaling::values(training, &design, &rows),
        Task::Validate => validation::values(training, &design, state, &rows, rng)?,
        Task::Candidates | Task::Update => {
            let algorithm = training.family.algorithm();
            algorithm.values(task, &design, training.clip, state, &rows)?
        }
    };
    // This check comes after the work, so that the time taken does not reveal whether a home is held out.
    if held_out != (task == Task::Validate) {
        return None;
    }
    let layout = Layout::of(training, &design, task);
    layout.fits(&values).then(|| layout.levels(&values, rng))
}

/// Returns the largest number of a home's documents that are used.
///
/// The bound keeps memory and time within limits, whatever the session and however many documents (protocol.md §12).
fn most_documents(training: &Training, design: &Design) -> usize {
    // Numbers in all rows together, which take 32 MiB.
    const CELLS: usize = 1 << 22;
    // Operations in one round.
    const STEPS: usize = 1 << 30;
    let columns = design.columns() + 1;
    let steps = training.family.algorithm().operations(design);
    (CELLS / columns).min(STEPS / steps.max(1)).max(1)
}
