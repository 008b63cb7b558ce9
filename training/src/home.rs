//! What one home computes: a vector of its documents and a round's parameters.

use rand::CryptoRng;

use super::data::{Design, Document};
use super::layout::Layout;
pub use super::scores::State;
use super::{Task, Training, scaling, validation};
use dispers_base::{encoding, id::QueryId, labels};
use dispers_circuit::VectorRow;
use dispers_query::local::LocalQuery;

/// Returns whether a home is held out of a session to validate with. Nobody can choose: it follows from the home's
/// own key and the session.
pub fn is_held_out(training: &Training, query: QueryId, key: &[u8; 32]) -> bool {
    let hash = encoding::hash(labels::HASH_HELD_OUT, &[&query.0, key]);
    let place = u64::from_le_bytes(hash[..8].try_into().expect("a hash has 32 bytes"));
    place % 1000 < training.held_out.into()
}

/// Returns what a home contributes to a round; `None` where it has nothing to say: no document with all values, held
/// out of what the round is for, or parameters that are not of this model.
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
    // Only now: how long it takes does not tell whether a home is held out.
    if held_out != (task == Task::Validate) {
        return None;
    }
    let layout = Layout::of(training, &design, task);
    layout.fits(&values).then(|| layout.levels(&values, rng))
}

/// Returns how many documents of a home are looked at. What they take in memory and time is bounded.
fn most_documents(training: &Training, design: &Design) -> usize {
    const CELLS: usize = 1 << 22;
    const STEPS: usize = 1 << 30;
    let columns = design.columns() + 1;
    let steps = training.family.algorithm().operations(design);
    (CELLS / columns).min(STEPS / steps.max(1)).max(1)
}
