//! Every domain-separation label of the protocol, in one place.
//!
//! A label names one use of one primitive. Two uses never share a label, so that a hash, key, signature or envelope
//! made for one use never passes for another. A test of the crate `tests` keeps this.
//!
//! The text of a label never changes within a version of the protocol, although some texts name their use badly: nodes
//! and files of another release would have other hashes.

/// First bytes of every HPKE `info`.
pub const ENVELOPE: &str = "dispers v1 envelope";
/// Key of a batch envelope's items, exported from its encapsulation.
pub const EXPORT_BATCH: &str = "dispers v1 export batch items";

/// Target profile, from the querier to the Target Finder.
pub const ENVELOPE_PROFILE: &str = "profile";
/// Evaluation request or answer between a client and a Concept Indexor.
pub const ENVELOPE_EVALUATION: &str = "evaluation";
/// Subscription upload, relayed by the Target, for the Conductor.
pub const ENVELOPE_UPLOAD: &str = "upload";
/// Handles of entries to withdraw, relayed by the Target, for the Conductor.
pub const ENVELOPE_WITHDRAWAL: &str = "withdrawal";
/// List entry, from a stack to the Target Finder.
pub const ENVELOPE_ENTRY: &str = "entry";
/// Host and home id inside a list entry, for the Target.
pub const ENVELOPE_LINK: &str = "link";
/// Batch of targets, from the Target Finder to the Target.
pub const ENVELOPE_TARGETS: &str = "targets";
/// Group of contributions, from a stack to an aggregator.
pub const ENVELOPE_GROUP: &str = "group";
/// An aggregator's share of dealt noise.
pub const ENVELOPE_DEAL: &str = "deal";
/// Grant (find, tag key Kᵢ and sizes of batches), from the Target Finder to an aggregator.
pub const ENVELOPE_TAG_KEY: &str = "tag key";
/// Message from one aggregator to another.
pub const ENVELOPE_PEER: &str = "peer";
/// Released total, from an aggregator to the querier.
pub const ENVELOPE_TOTAL: &str = "total";
/// Value of one member's dealing for another member, in a ceremony.
pub const ENVELOPE_CEREMONY: &str = "ceremony share";

/// Joint randomness of a vector's proof, expanded from the commitments to its shares.
pub const EXPAND_JOINT: &str = "dispers v1 expand joint randomness";
/// Commitment of a home to one aggregator's share of its vector.
pub const HASH_JOINT_PART: &str = "dispers v1 hash share for joint randomness";
/// Seed of the joint randomness, from all commitments of one vector.
pub const HASH_JOINT: &str = "dispers v1 hash joint randomness";
/// Blind of one contribution, which keeps a commitment from revealing anything about its share.
pub const HASH_BLIND: &str = "dispers v1 expand blinds";
/// Signature over the parameters of a round of training.
pub const SIGN_PARAMETERS: &str = "dispers v1 sign parameters";
/// Key under which a session's parameters are sealed, from the salt of its profile.
pub const DERIVE_SESSION_KEY: &str = "dispers v1 session key";
/// Digest of a round's sealed parameters.
pub const HASH_PARAMETERS: &str = "dispers v1 hash parameters";
/// Decision whether a session holds a home out, from the query and the home's κ.
pub const HASH_HELD_OUT: &str = "dispers v1 held out";

/// Signature over a directory body.
pub const SIGN_DIRECTORY: &str = "dispers v1 sign directory";
/// Signature over a manifest body. The signed hash is the query's id.
pub const SIGN_MANIFEST: &str = "dispers v1 sign manifest";
/// Signature over a request for an aggregator's offer.
pub const SIGN_OFFER_REQUEST: &str = "dispers v1 sign offer request";
/// Signature over an aggregator's offer of a fresh envelope key.
pub const SIGN_OFFER: &str = "dispers v1 sign offer";
/// Signature over a request to evaluate blinded concepts.
pub const SIGN_EVALUATION: &str = "dispers v1 sign evaluation request";
/// Signature over a batch of chosen targets.
pub const SIGN_BATCH: &str = "dispers v1 sign batch";
/// Signature over the summary of a find.
pub const SIGN_FIND: &str = "dispers v1 sign find";
/// Signature over the digest of a batch's groups.
pub const SIGN_GROUPS: &str = "dispers v1 sign groups";
/// Signature over an aggregator's statement of the noise that it deals.
pub const SIGN_DEAL: &str = "dispers v1 sign deal";
/// Signature over a message from one aggregator to another. Decisions name messages by the signed hash.
pub const SIGN_PEER: &str = "dispers v1 sign aggregator message";
/// Signature over an aggregator's acknowledgement of a prepared batch.
pub const SIGN_ACKNOWLEDGEMENT: &str = "dispers v1 sign acknowledgement";
/// Signature over the notary's release certificate.
pub const SIGN_CERTIFICATE: &str = "dispers v1 sign certificate";
/// Signature over an aggregator's released total.
pub const SIGN_TOTAL: &str = "dispers v1 sign total";
/// Signature over a member's enrolment in a ceremony.
pub const SIGN_ENROLMENT: &str = "dispers v1 sign enrolment";
/// Signature over a querier's request for the state of its budget.
pub const SIGN_BUDGET_REQUEST: &str = "dispers v1 sign budget request";
/// Signature over a member's dealing in a ceremony.
pub const SIGN_DEALING: &str = "dispers v1 sign dealing";
/// Signature of a Conductor over a head of its log.
pub const SIGN_LOG_HEAD: &str = "dispers v1 sign log head";
/// Co-signature of a witness over a head of the log.
pub const COSIGN_LOG_HEAD: &str = "dispers v1 cosign log head";
/// Signature of a host over the receipt for what it erased of a home.
pub const SIGN_RECEIPT: &str = "dispers v1 sign receipt";

/// Leaf of the log.
pub const HASH_LOG_LEAF: &str = "dispers v1 log leaf";
/// Hash of a canonical profile, which two equivalent ways to write a profile have in common.
pub const HASH_CANONICAL_PROFILE: &str = "dispers v1 hash canonical profile";
/// Commitment to a target profile.
pub const HASH_PROFILE: &str = "dispers v1 hash profile";
/// Name under which a Conductor stores an upload.
pub const HASH_UPLOAD: &str = "dispers v1 hash lists";
/// Name under which an aggregator stores an offered key.
pub const HASH_OFFERED_KEY: &str = "dispers v1 hash offered key";
/// Digest of one batch of targets.
pub const HASH_BATCH: &str = "dispers v1 hash batch";
/// Node of the tree over one aggregator's groups.
pub const HASH_AGGREGATOR_GROUPS: &str = "dispers v1 hash aggregator groups";
/// Digest D over all aggregators' digests.
pub const HASH_GROUPS: &str = "dispers v1 hash groups";
/// Hash of all deals of an attempt, which aggregators freeze as D.
pub const HASH_DEALS: &str = "dispers v1 hash deals";
/// Digest of a decision: D, quorum, bitmap, all messages.
pub const HASH_DECISION: &str = "dispers v1 hash decision";
/// Digest of a proposed release.
pub const HASH_RELEASE: &str = "dispers v1 hash release";
/// Hash of a key file that is split into fragments, and of the random bytes before it.
pub const HASH_KEY_FILE: &str = "dispers v1 hash key file";
/// Checksum of one fragment of a key file.
pub const HASH_FRAGMENT: &str = "dispers v1 hash fragment";
/// Seed of the noise of one set's size.
pub const HASH_SIZE_NOISE: &str = "dispers v1 hash size noise";
/// Weight of a target finder for a querier, to choose the finder of that querier's queries without noise.
pub const HASH_RESPONSIBLE: &str = "dispers v1 hash responsible finder";
/// Seed of one find for the noise of its numbers of silent homes (homes that did not answer).
pub const HASH_SILENT_SEED: &str = "dispers v1 hash silent seed";
/// Seed of the noise of one number of silent homes.
pub const HASH_SILENT_NOISE: &str = "dispers v1 hash silent noise";
/// Hash of a withdrawal handle.
pub const HASH_WITHDRAWAL: &str = "dispers v1 hash withdrawal";
/// Digest of a ceremony: network, role, group, threshold, suite, purpose and random id.
pub const HASH_CEREMONY: &str = "dispers v1 hash ceremony";
/// Digest of all enrolments of a ceremony.
pub const HASH_ENROLMENTS: &str = "dispers v1 hash enrolments";
/// Digest of one dealing's sealed shares.
pub const HASH_SEALED_SHARES: &str = "dispers v1 hash sealed shares";
/// Fingerprint of a public key, for people to compare.
pub const HASH_FINGERPRINT: &str = "dispers v1 hash fingerprint";
/// Name of a threshold key with its public shares.
pub const HASH_THRESHOLD_KEY: &str = "dispers v1 hash threshold key";

/// Tag keys Kᵢ from a Target Finder pool's secret.
pub const DERIVE_TAG_KEY: &str = "dispers v1 derive tag key";
/// Keystream key of one batch from Kᵢ.
pub const DERIVE_TAG_STREAM: &str = "dispers v1 derive tag stream";
/// Ticket key from a home's κ.
pub const DERIVE_TICKET_KEY: &str = "dispers v1 derive ticket key";
/// Id of a find, from a Target Finder pool's secret, the query, the partition, the digest of the lists and the cut.
pub const DERIVE_FIND: &str = "dispers v1 derive find";
/// Key that assigns the homes of a query to committees, from a Target Finder pool's secret.
pub const DERIVE_COMMITTEE: &str = "dispers v1 derive committee";
/// Seed of the encapsulation of a message that several nodes of a pool seal with the same bytes.
pub const DERIVE_ENCAPSULATION: &str = "dispers v1 derive encapsulation";
/// Key of the digests under which a target finder remembers the homes of a population.
pub const DERIVE_MEMBER_KEY: &str = "dispers v1 derive member key";
/// Key of the noise of sizes of sets.
pub const DERIVE_SIZE_KEY: &str = "dispers v1 derive size key";
/// Name of a population, from a querier, a key epoch and a canonical profile.
pub const DERIVE_POPULATION: &str = "dispers v1 derive population";
/// Seed of a find's shuffle.
pub const DERIVE_SHUFFLE: &str = "dispers v1 derive shuffle";
/// Key under which an aggregator seals what it keeps, from its signing key.
pub const DERIVE_STORAGE_KEY: &str = "dispers v1 derive storage key";
/// Shares that one group expands from a seed.
pub const EXPAND_SHARES: &str = "dispers v1 expand shares";
/// Query randomness from the threshold PRF.
pub const EXPAND_RANDOMNESS: &str = "dispers v1 expand randomness";
/// Discrete-log equality proof.
pub const PROOF_DLEQ: &str = "dispers v1 dleq";
/// Proof of knowledge of a dealing's constant term.
pub const PROOF_DEALING: &str = "dispers v1 proof of dealing";
/// Threshold PRF input.
pub const PRF_INPUT: &str = "dispers v1 prf input";
/// Randomness of one piece of work, from the recombined PRF value.
pub const HASH_PRF: &str = "dispers v1 hash prf value";
