//! Every bound of the protocol in one place. Units are in the names.

/// Largest gossip message, bytes (libp2p's default).
pub const GOSSIP_BYTES_MAX: usize = 64 * 1024;
/// Largest control message between two nodes, bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Largest canonical encoding of a tree, bytes. A base of 20,000 files needs about 2 MiB.
pub const TREE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most entries of one tree.
pub const TREE_ENTRIES_MAX: usize = 2_000_000;
/// Longest path inside a tree, bytes (`PATH_MAX`).
pub const PATH_BYTES_MAX: usize = 4095;
/// Longest name of one path component, bytes (`NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;
/// Largest single blob that is accepted from anywhere, bytes.
pub const BLOB_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Most extended attributes of one tree entry.
pub const XATTRS_MAX: usize = 64;
/// Largest extended attribute value, bytes (`XATTR_SIZE_MAX`).
pub const XATTR_BYTES_MAX: usize = 64 * 1024;

/// Most layers below one action.
pub const LAYERS_MAX: usize = 400;
/// Most read-only inputs of one action.
pub const INPUTS_MAX: usize = 256;
/// Most secrets of one command.
pub const SECRETS_MAX: usize = 32;
/// Most caches that one command is lent.
pub const CACHES_MAX: usize = 32;
/// Most sources of one copy, and most names that it leaves out.
pub const COPY_NAMES_MAX: usize = 4096;
/// Most files of one declared fetch.
pub const FETCH_FILES_MAX: usize = 256;
/// Most named outputs of one action.
pub const OUTPUTS_MAX: usize = 16;
/// Largest named output, bytes.
pub const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// Largest encoded action, bytes.
pub const ACTION_BYTES_MAX: usize = 512 * 1024;
/// Largest encoded claim, bytes.
pub const CLAIM_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of one step's log that are kept; the step is stopped beyond it.
pub const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest source archive that a fetch accepts, bytes.
pub const FETCH_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Longest life of a node certificate.
pub const CERT_LIFE_MS: u64 = 7 * 24 * 3600 * 1000;
/// How long a node's word about itself, or about another's silence, counts after it was given:
/// longer than any certificate under which it may have been given. Given anew before half is over.
pub const WORD_LIFE_MS: u64 = 2 * CERT_LIFE_MS;
/// How long a cordon counts after it was said. The council says it anew before half is over.
pub const CORDON_LIFE_MS: u64 = CERT_LIFE_MS;
/// How long a revocation counts after it was said: twice as long as any certificate of its node can,
/// for the clock by which that was signed may have been ahead.
pub const REVOCATION_LIFE_MS: u64 = 2 * CERT_LIFE_MS;
/// Longest life of an invite.
pub const INVITE_LIFE_MS: u64 = 24 * 3600 * 1000;
/// Longest operator name, bytes.
pub const OPERATOR_BYTES_MAX: usize = 64;

/// Most platforms that a node offers, emulated ones included.
pub const FACTS_PLATFORMS_MAX: usize = 16;
/// Most sandbox abilities, and most labels, of a node.
pub const FACTS_WORDS_MAX: usize = 32;
/// Longest sandbox ability, label and version of a node, bytes.
pub const FACTS_WORD_BYTES_MAX: usize = 64;

/// Most jobs in one gossiped offer digest.
pub const DIGEST_JOBS_MAX: usize = 256;
/// Most jobs that an owner's engine holds at once: a million that wait, and those that run.
pub const JOBS_MAX: usize = 1_100_000;
/// Most projects without waiting jobs whose place in a queue is remembered.
pub const IDLE_PROJECTS_MAX: usize = 16_384;
/// How long the job whose turn it is waits for more room than is free, before what becomes free is
/// kept for it.
pub const LARGE_WAIT_MS: u64 = 60_000;
/// Most attempts at one job before its infrastructure failure is final for the run.
pub const ATTEMPTS_MAX: u32 = 4;
/// Most nodes that may vanish with an attempt at one job before it is given up: it takes them down.
pub const LOSSES_MAX: u32 = 16;
/// Attempts at one job that came to nothing and are remembered; of those that vanished the last.
pub const FAILURES_MAX: usize = 64;
/// Most other nodes that the market knows at once.
pub const PEERS_MAX: usize = 8192;
/// Most attempts that one node runs at once.
pub const SLOTS_MAX: u32 = 1024;
/// Most attempts that one other node holds for one owner.
pub const PEER_ATTEMPTS_MAX: usize = 256;
/// Most layers of one job's lineage that its owner names.
pub const LINEAGE_MAX: usize = 16;
/// Most nodes that are named as having what is below one job.
pub const HOLDERS_MAX: usize = 8;
/// Most bids that an owner gathers for one job before it chooses.
pub const BIDS_MAX: usize = 8;
/// Largest opaque outcome of an attempt, bytes: a signed claim with room to spare.
pub const OUTCOME_BYTES_MAX: usize = 32 * 1024;
/// Most results that a worker keeps until their owners have acknowledged them.
pub const RESULTS_MAX: usize = 1024;
/// Most times that a result is sent before its worker stops offering it.
pub const RESULT_SENDS_MAX: u32 = 10;
/// Silence after which an attempt is lost, and after which its worker stops it.
pub const LEASE_MS: u64 = 30_000;
/// Longest lease that a worker takes from an owner.
pub const LEASE_MS_MAX: u64 = 300_000;
/// Longest life of one attempt, however often it is beaten.
pub const ATTEMPT_MS_MAX: u64 = 6 * 3600 * 1000;
/// How long an attempt may fetch nothing before another node gets the job.
pub const STILL_FETCHING_MS: u64 = 60_000;
/// How long a command may neither write log nor use its processor, or three times its estimate.
pub const STILL_RUNNING_MS: u64 = 600_000;
/// How long what an attempt made may take to be kept.
pub const STILL_KEEPING_MS: u64 = 300_000;
/// How soon the first beat follows an award; what ends sooner needs none.
pub const BEAT_FIRST_MS: u64 = 300;
/// Least time after which a job that runs elsewhere is tried a second time.
pub const SECOND_MS: u64 = 60_000;
/// How long until a second attempt that could not be made is thought of again.
pub const SECOND_AGAIN_MS: u64 = 10_000;
/// How long a node that was drawn for a second attempt has to say whether it has room.
pub const SECOND_ANSWER_MS: u64 = 2000;
/// Most nodes that are drawn for the second attempt at one job.
pub const SECOND_DRAWS_MAX: usize = 8;
/// Most second attempts of one owner at once, and most that go on after their jobs have ended.
pub const SECONDS_MAX: usize = 256;
/// Most kinds of jobs of which an owner knows how long they took.
pub const SEEN_KINDS_MAX: usize = 256;
/// Time between two beats to one owner.
pub const BEAT_MS: u64 = 10_000;
/// Least time between two digests of one platform.
pub const DIGEST_MS: u64 = 1000;
/// Longest time between two digests while jobs wait.
pub const DIGEST_MS_MAX: u64 = 8000;
/// How long jobs that begin to wait are gathered before the first digest names them.
pub const GATHER_MS: u64 = 50;
/// How long a heard digest is worth bidding on.
pub const HINT_MS: u64 = 20_000;
/// How long an owner waits for better bids than the first.
pub const BID_MS: u64 = 100;
/// Candidates for a job, its owner's own node included; everybody where there are no more.
/// Also nodes that are meant to bid for an offered job in a digest at first; twice as many for each second that it waits.
pub const CANDIDATES: u64 = 5;
/// How long candidates that were offered a job may take before others are asked.
pub const OFFER_MS: u64 = 2000;
/// Jobs that are out on offer at once.
pub const AUCTIONS_MAX: usize = 32;
/// How long a node that has no room is not asked again, unless it shows that it has; doubles each
/// time.
pub const PASS_MS: u64 = 8000;
/// The longest of these.
pub const PASS_MS_MAX: u64 = 64_000;
/// Longest wait with which a node still takes on more.
pub const WAIT_MS_MAX: u64 = 300_000;
/// Longest that a job is left to those who have what is below it.
pub const HOLD_MS_MAX: u64 = 300_000;
/// How long a slot that has become free is kept for another job of the same owner.
pub const NEXT_MS: u64 = 250;
/// Waiting jobs among which a node that has room gets the one that suits it best.
pub const CHOICE_MAX: usize = 64;
/// Attempts whose roles a node remembers: what runs here and what is still to be acknowledged.
pub const HOMES_MAX: usize = 2 * (SLOTS_MAX as usize + RESULTS_MAX);
/// Roles whose holders the market knows.
pub const ROLES_MAX: usize = 16_384;
/// Attempts of earlier holders of its roles that a node remembers.
pub const RETURNED_MAX: usize = 4096;
/// Offers of one owner that a node has before it at once; it passes on the rest.
pub const QUOTES_PER_PEER_MAX: usize = 64;
/// Offers of all owners that a node has before it at once.
pub const QUOTES_MAX: usize = 4096;
/// How fast a node is thought to fetch before it was measured, bytes per second.
pub const FETCH_BYTES_PER_S: u64 = 32 * 1024 * 1024;
/// How long an owner leaves a job to others for which it would have to fetch what they may have.
pub const UNPLACED_MS: u64 = 2000;
/// How long a bid keeps its slot.
pub const RESERVE_MS: u64 = 2000;
/// How long a node that lost or failed a job is kept from it while there are others.
pub const EXCLUDE_MS: u64 = 60_000;
/// How long a node that refused an award is kept from that job while there are others.
pub const REFUSED_MS: u64 = 2000;
/// First wait before something is sent or tried again; doubles each time.
pub const RETRY_MS: u64 = 1000;
/// Longest wait before something is sent or tried again.
pub const RETRY_MS_MAX: u64 = 30_000;
/// How much longer a job is thought to take where its platform is emulated: compilers under
/// qemu-user take five to fifteen times as long.
pub const EMULATED_FACTOR: u64 = 10;
/// How long an owner that only emulates a job's platform leaves it to nodes that have it.
pub const EMULATED_WAIT_MS: u64 = 30_000;
/// Longest reason that a node gives for taking no work, bytes.
pub const FACTS_WHY_BYTES_MAX: usize = 200;
/// Longest reason of a cordon or a pause, bytes: with what stands around it, it is such a reason.
pub const CORDON_WHY_BYTES_MAX: usize = 120;

// The wire between nodes: what one peer, one operator and one address may cost.

/// Messages that a peer may send per second over time, in each protocol of members by itself.
pub const MESSAGES_PER_S: u32 = 50;
/// Messages that a peer may send at once, in each protocol of members by itself.
pub const MESSAGES_BURST: u32 = 200;
/// Messages beyond the rate that a peer may lose before it is cut off.
pub const MESSAGES_OVER_MAX: u32 = 400;
/// Hellos and admissions that a peer may send per second over time.
pub const GREETINGS_PER_S: u32 = 2;
/// Hellos and admissions that a peer may send at once.
pub const GREETINGS_BURST: u32 = 16;
/// How many times the rate of one peer all peers of one operator may have together.
pub const OPERATOR_FACTOR: u32 = 4;
/// Other operators' members that are connected at once, for each of those operators.
pub const OPERATOR_CONNECTIONS_MAX: usize = 16;
/// Strangers connected at once.
pub const STRANGERS_MAX: usize = 32;
/// How long a stranger stays connected.
pub const STRANGER_MS: u64 = 10_000;
/// Handshakes that are begun per second over time for one source address; those of members are
/// given back.
pub const HANDSHAKES_PER_S: u32 = 8;
/// Handshakes that are begun at once for one source address.
pub const HANDSHAKE_BURST: u32 = 96;
/// Handshakes that are begun per second over time for all source addresses together.
pub const HANDSHAKES_ALL_PER_S: u32 = 64;
/// Handshakes that are begun at once for all source addresses together.
pub const HANDSHAKES_ALL_BURST: u32 = 512;
/// Members for which one member relays signalling at once.
pub const RELAY_RESERVATIONS_MAX: usize = 64;
/// Connections that one member relays at once.
pub const RELAY_CIRCUITS_MAX: usize = 64;
/// Connections that one member relays at once from or to one other.
pub const RELAY_CIRCUITS_PER_PEER_MAX: usize = 16;
/// Bytes that one relayed connection may carry each way: signalling, never bulk.
pub const RELAY_CIRCUIT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long one relayed connection may last.
pub const RELAY_CIRCUIT_MS_MAX: u64 = 3600 * 1000;
/// How far apart two clocks may be before people are told; never a matter of safety.
pub const CLOCK_SKEW_MS: u64 = 120_000;

// The wire between nodes: what one message may hold.

/// Largest hello or admission message and its answer, bytes.
pub const GREETING_BYTES_MAX: usize = 256 * 1024;
/// Members named in one hello or welcome.
pub const CONTACTS_SHARED_MAX: usize = 64;
/// Revocations named in one hello.
pub const REVOKED_SHARED_MAX: usize = 128;
/// Addresses shown of one node.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address, bytes of its text.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Platforms that a joining node may name.
pub const PLATFORMS_MAX: usize = 16;
/// Messages in one batch of the control protocol.
pub const BATCH_MESSAGES_MAX: usize = 64;
/// Largest frame of the control protocol, bytes: a batch of one largest message, or of many small
/// ones.
pub const CONTROL_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1 + BATCH_MESSAGES_MAX * 4;
/// Blobs asked for in one request of the blobs protocol.
pub const BLOBS_PER_REQUEST_MAX: usize = 4096;

// What follows is not of the wire.

/// Largest opam file, bytes (ocaml-ci's cap is 100 KiB; some files of opam-repository exceed it).
pub const OPAM_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Most variants of one run.
pub const VARIANTS_MAX: usize = 64;
/// Most packages of one solution.
pub const PACKAGES_MAX: usize = 2000;

/// Largest text of one build spec, bytes; its printed form is bound by the same.
pub const SPEC_BYTES_MAX: usize = 1024 * 1024;
/// Most atoms and lists of one build spec.
pub const SPEC_NODES_MAX: usize = 64 * 1024;
/// Most parentheses open at once in a build spec; enough for all nested builds.
pub const SPEC_PARENS_MAX: usize = 64;
/// Longest atom of a build spec, bytes: the longest argument that Linux gives a program.
pub const SPEC_ATOM_BYTES_MAX: usize = 128 * 1024 - 1;
/// Most ops of one build spec, nested builds included.
pub const SPEC_OPS_MAX: usize = 4096;
/// Most nested builds of one build spec, at all depths.
pub const SPEC_BUILDS_MAX: usize = 256;
/// Deepest build within builds of a build spec.
pub const SPEC_BUILD_DEPTH_MAX: usize = 16;
/// Longest name of a nested build, of a cache and of a secret, bytes.
pub const SPEC_NAME_BYTES_MAX: usize = 255;
/// Longest name of a base image, bytes.
pub const SPEC_IMAGE_BYTES_MAX: usize = 1024;
