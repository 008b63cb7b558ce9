//! Tickets: proof to the aggregators that the Target Finder chose a home (protocol.md §6).
//!
//! For each chosen home the finder makes one 16-byte tag per aggregator, which only that aggregator can check. It seals
//! the tags under the ticket key, which only the home's stack shares with it. The home puts each tag inside the
//! envelope for that aggregator. So a contribution provably comes from a chosen home and counts once, and the
//! aggregators learn no identity.
//!
//! All keys derive from the pool's secret, the homes' keys and the find, so that a repeated find gives the same
//! tickets.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{find::Cut, session::SessionKey};
use dispers_base::{
    encoding,
    hex::Hex,
    id::{BatchId, KeyEpoch, MemberNumber, Name, QueryId},
    labels,
};
use dispers_crypto::{aead, envelope::OpenError};
use dispers_privacy::Population;

/// Largest number of tags in a ticket, which is that of members in a committee.
const MAX_TAGS: usize = 255;

/// Nonce of a ticket; it can be constant because each ticket has a key of its own.
const ONE_MESSAGE: [u8; 12] = [0; 12];

/// τᵢ: the tag by which aggregator i recognises a ticket.
pub type TicketTag = [u8; 16];

/// Id of one find, derived from query, partition, searched lists, and the cut into batches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct FindId(pub [u8; 32]);

impl fmt::Debug for FindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FindId({})", Hex(&self.0[..8]))
    }
}

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Makes the secret from 32 stored bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the 32 bytes, to store them.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

secret! {
    /// Secret from which all nodes of a Target Finder pool derive the same values; zeroized when dropped.
    ///
    /// # Security
    /// The secret must not change while a query is served: a repeated find would seal other tags under the same ticket
    /// keys.
    PoolSecret
}

secret! {
    /// Kᵢ: the key from which one aggregator computes its tags of one find; zeroized when dropped.
    #[derive(BorshSerialize, BorshDeserialize)]
    TagKey
}

secret! {
    /// κ: the ticket key that a home and the Target Finder share for a key epoch; zeroized when dropped.
    #[derive(BorshSerialize, BorshDeserialize)]
    HomeKey
}

/// Key that assigns the homes of one query to committees.
pub struct CommitteeKey(Zeroizing<[u8; 32]>);

impl CommitteeKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Key under which a Target Finder hashes the tags of homes that it remembers (protocol.md §9).
pub struct MemberKey(Zeroizing<[u8; 32]>);

impl MemberKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Makes a key from these bytes.
    #[cfg(test)]
    pub(crate) fn for_test(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl PoolSecret {
    /// Draws a fresh secret.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(drawn(rng))
    }

    /// Derives the id of the find of `query` in `partition` over streamed lists with this digest, whose homes are cut
    /// into batches according to `batch_size` and `cut`.
    ///
    /// # Security
    /// The id covers everything that determines which home is in which batch: two cuts are two finds, and an
    /// aggregator accepts one find per partition. It is keyed, so that finders with different secrets, whose tags
    /// differ, never seal tickets under one id.
    pub fn find(
        &self,
        query: QueryId,
        partition: u16,
        lists: &[u8; 32],
        batch_size: u32,
        cut: &Cut,
    ) -> FindId {
        FindId(derive(
            &self.0,
            &(
                labels::DERIVE_FIND,
                query,
                partition,
                lists,
                batch_size,
                cut,
            ),
        ))
    }

    /// Derives Kᵢ of member `member` of the manifest's committee number `committee`.
    ///
    /// Committees have different keys, so that one cannot make another's tags.
    pub fn tag_key(&self, find: &FindId, committee: u16, member: MemberNumber) -> TagKey {
        TagKey(derive(
            &self.0,
            &(labels::DERIVE_TAG_KEY, find, committee, member),
        ))
    }

    /// Derives the name of the population that `profile` means towards one querier in a key epoch. Without the pool's
    /// secret the name says nothing about the profile.
    pub fn population(&self, querier: &Name, epoch: KeyEpoch, profile: &[u8; 32]) -> Population {
        Population(derive(
            &self.0,
            &(labels::DERIVE_POPULATION, querier, epoch, profile),
        ))
    }

    /// Derives the key under which the sets of homes that a querier asked in a key epoch are remembered.
    pub fn member_key(&self, querier: &Name, epoch: KeyEpoch) -> MemberKey {
        // With one key for all queriers, equal hashes would show that two of them asked the same home.
        MemberKey(Zeroizing::new(derive(
            &self.0,
            &(labels::DERIVE_MEMBER_KEY, querier, epoch),
        )))
    }

    /// Derives the key that assigns a query's homes to committees. It depends on neither the lists nor the cut: else
    /// one home more or less could move others to another committee (protocol.md §8).
    pub fn committee_key(&self, query: QueryId) -> CommitteeKey {
        CommitteeKey(Zeroizing::new(derive(
            &self.0,
            &(labels::DERIVE_COMMITTEE, query),
        )))
    }

    /// Derives the seed of the noise of sizes in a key epoch.
    pub(crate) fn size_key(&self, epoch: KeyEpoch) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(derive(&self.0, &(labels::DERIVE_SIZE_KEY, epoch)))
    }

    /// Derives the seed of the find's shuffle.
    pub fn shuffle_seed(&self, find: &FindId) -> [u8; 32] {
        derive(&self.0, &(labels::DERIVE_SHUFFLE, find))
    }
}

impl HomeKey {
    /// Draws a fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(drawn(rng))
    }

    /// Derives the key of the one ticket of (find, batch, index).
    fn ticket_key(&self, find: &FindId, batch: BatchId, index: u32) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(derive(
            &self.0,
            &(labels::DERIVE_TICKET_KEY, find, batch, index),
        ))
    }
}

/// Tags of one aggregator for one batch.
pub struct TagStream(Zeroizing<[u8; 32]>);

impl TagStream {
    /// Derives the tags of `batch` from Kᵢ.
    pub fn new(key: &TagKey, batch: BatchId) -> Self {
        let key = Zeroizing::new(derive(&key.0, &(labels::DERIVE_TAG_STREAM, batch)));
        Self(key)
    }

    /// Returns the tag of the home at `index` of the batch.
    pub fn tag(&self, index: u32) -> TicketTag {
        let mut stream = self.keystream();
        // A keystream has random access, so that a tag costs one block whatever its index.
        stream.seek(u64::from(index) * 16);
        let mut tag = TicketTag::default();
        stream.apply_keystream(&mut tag);
        tag
    }

    /// Returns whether `tag` is the tag of `index`, in constant time.
    pub fn verify(&self, index: u32, tag: &TicketTag) -> bool {
        self.tag(index).ct_eq(tag).into()
    }

    fn keystream(&self) -> ChaCha20 {
        // The key serves one batch, so the nonce may be fixed.
        ChaCha20::new((&*self.0).into(), &Default::default())
    }
}

impl fmt::Debug for TagStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagStream")
    }
}

/// A sealed ticket. Batch and index travel in clear beside it, since the key that opens the ticket derives from them.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ticket(Vec<u8>);

/// An opened ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedTicket {
    /// Batch that the home was chosen for.
    pub batch: BatchId,
    /// Index of the home in the batch.
    pub index: u32,
    /// τ₁…τₙ, one per aggregator of the batch's committee, in order.
    pub tags: Zeroizing<Vec<TicketTag>>,
    /// Key that opens the parameters of a session; `None` where the query is no training session.
    pub session: Option<SessionKey>,
}

type Content = (BatchId, u32, Vec<TicketTag>, Option<SessionKey>);

impl Ticket {
    /// Seals the tags of a home. Equal arguments give equal tickets.
    pub fn seal(
        key: &HomeKey,
        query: QueryId,
        find: &FindId,
        batch: BatchId,
        index: u32,
        tags: &[TicketTag],
        session: Option<&SessionKey>,
    ) -> Self {
        let plaintext = Zeroizing::new(encoding::to_bytes(&(batch, index, tags, session)));
        let aad = encoding::to_bytes(&(query, find));
        let key = key.ticket_key(find, batch, index);
        Self(aead::seal(&key, &ONE_MESSAGE, &aad, &plaintext))
    }

    /// Opens the ticket that travels beside `batch` and `index`.
    ///
    /// # Errors
    /// [`OpenError`], whatever the cause.
    pub fn open(
        &self,
        key: &HomeKey,
        query: QueryId,
        find: &FindId,
        batch: BatchId,
        index: u32,
    ) -> Result<OpenedTicket, OpenError> {
        // Version, batch, index, number of tags, tags, and an optional session key.
        const LIMIT: usize = 1 + 8 + 4 + 4 + 16 * MAX_TAGS + 33;
        let aad = encoding::to_bytes(&(query, find));
        let key = key.ticket_key(find, batch, index);
        let plaintext = aead::open(&key, &ONE_MESSAGE, &aad, &self.0)?;
        let (sealed_batch, sealed_index, tags, session): Content =
            encoding::from_bytes(&plaintext, LIMIT, "ticket").map_err(|_| OpenError)?;
        let tags = Zeroizing::new(tags);
        if (sealed_batch, sealed_index) != (batch, index) {
            return Err(OpenError);
        }
        Ok(OpenedTicket {
            batch,
            index,
            tags,
            session,
        })
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({} bytes)", self.0.len())
    }
}

impl fmt::Debug for OpenedTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedTicket(of {} aggregators)", self.tags.len())
    }
}

fn drawn(rng: &mut impl CryptoRng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Derives 32 bytes from `secret` by HKDF-SHA256. `info` begins with a label.
fn derive(secret: &[u8; 32], info: &impl BorshSerialize) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(None, secret)
        .expand(&encoding::to_bytes(info), &mut key)
        .expect("32 bytes are within HKDF's limit");
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUERY: QueryId = QueryId([1; 32]);
    const BATCH: BatchId = BatchId {
        partition: 2,
        committee: 1,
        number: 3,
    };

    fn find() -> FindId {
        pool().find(QUERY, 2, &[4; 32], 10, &cut(20))
    }

    fn cut(size: u32) -> Cut {
        Cut::of(vec![vec![size, 20], vec![22]])
    }

    fn pool() -> PoolSecret {
        PoolSecret::from_bytes([5; 32])
    }

    fn home() -> HomeKey {
        HomeKey::from_bytes([6; 32])
    }

    fn member(number: u8) -> MemberNumber {
        MemberNumber::new(number).unwrap()
    }

    fn tags(index: u32) -> Vec<TicketTag> {
        (1..=3)
            .map(|i| TagStream::new(&pool().tag_key(&find(), 0, member(i)), BATCH).tag(index))
            .collect()
    }

    fn ticket() -> Ticket {
        Ticket::seal(&home(), QUERY, &find(), BATCH, 7, &tags(7), None)
    }

    #[test]
    fn keys_are_drawn_and_not_written_down() {
        use rand::{SeedableRng, rngs::StdRng};
        let mut rng = StdRng::seed_from_u64(1);
        let keys: Vec<HomeKey> = (0..2).map(|_| HomeKey::generate(&mut rng)).collect();
        assert_ne!(keys[0].as_bytes(), keys[1].as_bytes());
        let secrets: Vec<PoolSecret> = (0..2).map(|_| PoolSecret::generate(&mut rng)).collect();
        assert_ne!(secrets[0].as_bytes(), secrets[1].as_bytes());
    }

    #[test]
    fn a_ticket_has_a_tag_for_each_of_the_most_aggregators() {
        let many = vec![[7; 16]; MAX_TAGS];
        let ticket = Ticket::seal(&home(), QUERY, &find(), BATCH, 7, &many, None);
        let opened = ticket.open(&home(), QUERY, &find(), BATCH, 7).unwrap();
        assert_eq!(opened.tags.len(), MAX_TAGS);
    }

    #[test]
    fn a_home_opens_its_ticket_and_each_aggregator_accepts_its_tag_only() {
        let opened = ticket().open(&home(), QUERY, &find(), BATCH, 7).unwrap();
        assert_eq!((opened.batch, opened.index), (BATCH, 7));
        for (i, own) in (1..=3).zip(opened.tags.iter()) {
            let stream = TagStream::new(&pool().tag_key(&find(), 0, member(i)), BATCH);
            assert!(stream.verify(7, own));
            assert!(!stream.verify(8, own));
            for other in opened.tags.iter().filter(|other| *other != own) {
                assert!(!stream.verify(7, other));
            }
        }
        assert_eq!(ticket(), ticket());
    }

    #[test]
    fn tags_are_the_keystream_from_their_place_on() {
        let stream = TagStream::new(&pool().tag_key(&find(), 0, member(1)), BATCH);
        let mut whole = [0; 160];
        stream.keystream().apply_keystream(&mut whole);
        for (index, tag) in (0..).zip(whole.as_chunks::<16>().0) {
            assert_eq!(stream.tag(index), *tag);
        }
        assert_ne!(stream.tag(u32::MAX), stream.tag(u32::MAX - 1));
    }

    #[test]
    fn every_name_separates_what_derives_from_it() {
        let other_find = pool().find(QUERY, 3, &[4; 32], 10, &cut(20));
        for other in [
            other_find,
            pool().find(QUERY, 2, &[5; 32], 10, &cut(20)),
            pool().find(QueryId([2; 32]), 2, &[4; 32], 10, &cut(20)),
            pool().find(QUERY, 2, &[4; 32], 11, &cut(20)),
            pool().find(QUERY, 2, &[4; 32], 10, &cut(21)),
            PoolSecret::from_bytes([9; 32]).find(QUERY, 2, &[4; 32], 10, &cut(20)),
        ] {
            assert_ne!(other, find());
        }

        let key = |find: &FindId, committee, number| {
            *pool().tag_key(find, committee, member(number)).as_bytes()
        };
        let own = key(&find(), 0, 1);
        assert_ne!(key(&other_find, 0, 1), own);
        assert_ne!(key(&find(), 1, 1), own);
        assert_ne!(key(&find(), 0, 2), own);
        assert_ne!(
            pool().shuffle_seed(&other_find),
            pool().shuffle_seed(&find())
        );

        let key = TagKey::from_bytes(own);
        for other_batch in [
            BatchId { number: 4, ..BATCH },
            BatchId {
                committee: 0,
                ..BATCH
            },
        ] {
            assert_ne!(
                TagStream::new(&key, other_batch).tag(0),
                TagStream::new(&key, BATCH).tag(0)
            );
        }
    }

    #[test]
    fn a_ticket_does_not_open_elsewhere() {
        let other_find = FindId([9; 32]);
        let other_batch = BatchId { number: 4, ..BATCH };
        let other_home = HomeKey::from_bytes([7; 32]);
        for result in [
            ticket().open(&other_home, QUERY, &find(), BATCH, 7),
            ticket().open(&home(), QueryId([2; 32]), &find(), BATCH, 7),
            ticket().open(&home(), QUERY, &other_find, BATCH, 7),
            ticket().open(&home(), QUERY, &find(), other_batch, 7),
            ticket().open(&home(), QUERY, &find(), BATCH, 8),
            Ticket(vec![]).open(&home(), QUERY, &find(), BATCH, 7),
        ] {
            assert_eq!(result, Err(OpenError));
        }
    }

    #[test]
    fn printing_shows_no_secret() {
        let opened = ticket().open(&home(), QUERY, &find(), BATCH, 7).unwrap();
        assert_eq!(format!("{opened:?}"), "OpenedTicket(of 3 aggregators)");
        assert_eq!(format!("{:?} {:?}", pool(), home()), "PoolSecret HomeKey");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_flipped_bit_fails_to_open(place in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut changed = ticket();
            let place = place.index(changed.0.len());
            changed.0[place] ^= 1 << bit;
            prop_assert_eq!(
                changed.open(&home(), QUERY, &find(), BATCH, 7),
                Err(OpenError)
            );
        }
    }
}
