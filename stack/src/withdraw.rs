//! Withdrawal of subscriptions (protocol.md §5).

use std::sync::Arc;

use dispers_base::encoding::to_bytes;
use dispers_core::subscription::{Handle, HomeId, SealedWithdrawal, withdrawal_context};
use dispers_node::rng;
use dispers_proto::chunks;
use dispers_query::catalogue::EVERY_HOME;

use crate::{Connector, Error, Relay, Store, subscribe::remote};

/// Most handles in one message.
const HANDLES: usize = 200_000;

/// Withdraws homes from a concept, or from everything if `concept` is `None`. Queries that are submitted afterwards do
/// not find the homes by it. `home>all` comes with any concept, so that withdrawing it withdraws everything. Returns
/// the number of subscriptions that ended.
///
/// # Errors
/// [`Error`]. Subscriptions that ended at the stack have ended: a home without any refuses from now on. The next call
/// tells the Conductor the rest.
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
        // The stack's file comes first. A home without a subscription refuses, even if the Conductor cannot be reached.
        count += store.leave(home, concept)?;
    }
    send_leaving(relay, store).await?;
    Ok(count)
}

/// Tells the Conductor which entries to withdraw: those of subscriptions that ended, and those of uploads that may or
/// may not have arrived.
pub(crate) async fn send_leaving(relay: &Relay, store: &Arc<Store>) -> Result<(), Error> {
    let leaving = store.leaving()?;
    for handles in leaving.chunks(HANDLES) {
        let sealed = seal(relay, handles)?;
        let sent = relay.through(|mut target| {
            let sealed = tokio_stream::iter(chunks([sealed.clone()]));
            async move { target.withdraw(sealed).await }
        });
        sent.await.map_err(remote("the withdrawal"))?;
        // Forgotten only after the Conductor took them. A withdrawal may be repeated, but must not be lost.
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
