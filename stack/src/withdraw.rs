//! Withdrawing subscriptions (protocol.md §5).

use std::sync::Arc;

use dispers_base::encoding::to_bytes;
use dispers_core::subscription::{Handle, HomeId, SealedWithdrawal, withdrawal_context};
use dispers_node::rng;
use dispers_proto::chunks;
use dispers_query::catalogue::EVERY_HOME;

use crate::{Connector, Error, Relay, Store, subscribe::remote};

/// Handles of one message.
const HANDLES: usize = 200_000;

/// Withdraws homes from a concept, or from everything where there is none: no query that is
/// submitted afterwards finds them by it. `home>all` comes with any concept, so that withdrawing it
/// withdraws everything. Returns how many subscriptions ended.
///
/// # Errors
/// [`Error`]. What ended here has ended: a home that is left without a subscription refuses from now
/// on, and the next call tells the Conductor what this one could not.
pub async fn withdraw(
    relay: &Relay,
    store: &Arc<Store>,
    homes: &[HomeId],
    concept: Option<&str>,
) -> Result<usize, Error> {
    let directory = relay.directory();
    if let Some(unknown) = concept.filter(|concept| !directory.catalogue.has_concept(concept)) {
        return Err(Error::UnknownConcept(unknown.to_owned()));
    }
    let concept = concept.filter(|concept| *concept != EVERY_HOME);
    let mut count = 0;
    for home in homes {
        if !store.holds(home)? {
            return Err(Error::UnknownHome(home.0.clone()));
        }
        count += store.leave(home, concept)?;
    }
    send_leaving(relay, store).await?;
    Ok(count)
}

/// Tells the Conductor what it may hold and should not: what was withdrawn, and what an upload left
/// behind of which nobody knows whether it arrived.
pub(crate) async fn send_leaving(relay: &Relay, store: &Arc<Store>) -> Result<(), Error> {
    let leaving = store.leaving()?;
    for handles in leaving.chunks(HANDLES) {
        let sealed = seal(relay, handles)?;
        let sent = relay.through(|mut target| {
            let sealed = tokio_stream::iter(chunks([sealed.clone()]));
            async move { target.withdraw(sealed).await }
        });
        sent.await.map_err(remote("the withdrawal"))?;
        store.left(handles)?;
    }
    Ok(())
}

fn seal(relay: &Relay, handles: &[Handle]) -> Result<Vec<u8>, Error> {
    let conductor = relay.directory().conductor_key();
    let context = withdrawal_context();
    let sealed = SealedWithdrawal::seal(&handles.to_vec(), conductor, &context, &mut rng());
    Ok(to_bytes(&sealed))
}
