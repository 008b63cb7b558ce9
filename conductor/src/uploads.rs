//! Uploads to the sealed subscription lists, and withdrawals: opened, and checked before they are stored.

use std::sync::Arc;

use dispers_base::{
    encoding::{Message as _, decode, from_bytes},
    id::KeyEpoch,
};
use dispers_core::subscription::{
    Handle, MAX_ENTRIES, MAX_UPLOAD, SealedUpload, SealedWithdrawal, Upload, upload_context,
    withdrawal_context,
};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_node::{Node, blocking};
use tonic::Status;

use crate::{Error, Store};

/// Most handles of one withdrawal.
const MAX_HANDLES: usize = 1 << 20;

/// The lists that hosts upload to.
pub(crate) struct Uploads {
    pub(crate) node: Arc<Node>,
    pub(crate) envelope: Arc<EnvelopeSecretKey>,
    pub(crate) store: Arc<dyn Store>,
    /// Most entries of all lists.
    pub(crate) max_entries: usize,
}

impl Uploads {
    /// Opens, checks and stores an upload.
    pub(crate) async fn add(&self, body: Vec<u8>) -> Result<(), Status> {
        let envelope = self.envelope.clone();
        let upload = blocking(move || open_upload(&body, &envelope).map_err(Error::status)).await?;
        // During a grace the directory lists two key epochs (§2). Lists of any other would never be read.
        let listed = self.node.directory.epochs();
        let listed: Vec<_> = listed.map(|keys| keys.key_epoch).collect();
        let checked = check_upload(&upload, &listed, self.node.directory.partitions());
        checked.map_err(Error::status)?;
        let added = self.store.add(upload, self.max_entries).await;
        added.map_err(Error::status)
    }

    /// Opens a withdrawal and removes its entries. Returns the number of removed entries.
    pub(crate) async fn withdraw(&self, body: Vec<u8>) -> Result<u32, Status> {
        let envelope = self.envelope.clone();
        let hashes = blocking(move || open_withdrawal(&body, &envelope).map_err(Error::status));
        let withdrawn = self.store.withdraw(hashes.await?).await;
        withdrawn.map_err(Error::status)
    }
}

/// Checks that an upload is for a listed key epoch and partition, and has a valid number of entries.
fn check_upload(upload: &Upload, listed: &[KeyEpoch], partitions: u16) -> Result<(), Error> {
    let count = upload.entries.len();
    // The number of entries is associated data of each entry (§3), so with a wrong number the finder could open none.
    if !listed.contains(&upload.key_epoch)
        || upload.partition >= partitions
        || count == 0
        || count > MAX_ENTRIES
        || upload.envelopes.entry_count as usize != count
    {
        return Err(Error::BadUpload);
    }
    Ok(())
}

/// Opens a sealed upload.
fn open_upload(body: &[u8], envelope: &EnvelopeSecretKey) -> Result<Upload, Error> {
    let sealed: SealedUpload = decode(body)?;
    Ok(sealed.open(envelope, &upload_context(), Upload::LIMIT)?)
}

/// Returns the hashes of the handles in a sealed withdrawal.
fn open_withdrawal(body: &[u8], envelope: &EnvelopeSecretKey) -> Result<Vec<[u8; 32]>, Error> {
    let sealed: SealedWithdrawal = from_bytes(body, MAX_UPLOAD, "withdrawal")?;
    // A handle has 16 bytes, so this bounds their number.
    let handles = sealed.open(envelope, &withdrawal_context(), 17 * MAX_HANDLES)?;
    Ok(handles.iter().map(Handle::hash).collect())
}
