//! Every bound of this crate, in one place.

use std::time::Duration;

/// Ids of one job's user namespace: inside 0..65536.
pub(crate) const ID_COUNT: u32 = 65_536;
/// First id of the host that jobs run under: above what services of users (sssd's last is
/// 2,000,200,000) and container managers give out, at a whole range.
pub(crate) const ID_FIRST: u32 = 30_521 * ID_COUNT;
/// Blocks that follow it. They end below the ids that systemd gives to foreign images (from
/// 2,147,352,576).
pub(crate) const ID_BLOCKS_LOW: u32 = 8;
/// Where the other blocks begin: nobody gives these ids out, because old programs and file systems
/// take them for negative. So they come last.
pub(crate) const ID_FIRST_HIGH: u32 = 1 << 31;
/// Helpers of one machine that have ids of their own, at once.
pub(crate) const ID_BLOCKS: u32 = 128;
/// Layers below the upper directory; the kernel stacks at most 500, and one is ours.
pub(crate) const LOWERS_MAX: usize = 480;
/// Extra directories and files bound into one job.
pub(crate) const BINDS_MAX: usize = 64;
/// Directories of one job that are overlays of their own.
pub(crate) const LAYERED_MAX: usize = 32;
/// Files of one job that hold secrets.
pub(crate) const SECRETS_MAX: usize = 32;
/// Bytes of one secret.
pub(crate) const SECRET_BYTES_MAX: usize = 512 * 1024;
/// Arguments of a command.
pub(crate) const ARGS_MAX: usize = 4_096;
/// Variables of a command's environment.
pub(crate) const ENV_MAX: usize = 4_096;
/// Bytes of one path, name included.
pub(crate) const PATH_MAX: usize = 4_095;
/// Bytes of one message between the launcher and its helper.
pub(crate) const MESSAGE_MAX: usize = 1 << 20;
/// Bytes of a job's name, and of the tag that all jobs of a node carry.
pub(crate) const NAME_MAX: usize = 64;
/// Bytes of a host name inside.
pub(crate) const HOSTNAME_MAX: usize = 63;
/// Lines of `/etc/subuid` that one user's ids are taken from: as many as a map may have.
pub(crate) const SUBIDS_MAX: usize = 300;
/// Bytes of what another program says that are told on.
pub(crate) const RELAYED_MAX: u64 = 4_096;
/// Jobs of one helper at once.
pub(crate) const JOBS_MAX: usize = 256;
/// Cells that wait ready for a job.
pub(crate) const WARM_MAX: usize = 2;
/// How long after a job was handed out the next cell is made.
pub(crate) const WARM_AFTER: Duration = Duration::from_millis(10);
/// The longest a job may ask to run: a week.
pub(crate) const WALL_MS_MAX: u64 = 7 * 24 * 3_600 * 1_000;
/// The least memory in which a command can start.
pub(crate) const MEMORY_MIN: u64 = 4 << 20;
/// Bytes of `/dev/shm` inside.
pub(crate) const SHM_BYTES: u64 = 64 << 20;
/// Bytes of `/run` inside.
pub(crate) const RUN_BYTES: u64 = 64 << 20;
/// How long a fresh helper may take to answer.
pub(crate) const HELPER_START_MS: i32 = 10_000;
/// How long a closing helper waits for its jobs to be gone.
pub(crate) const HELPER_STOP_MS: u64 = 5_000;
/// How long the removal of a control group is tried again while its last process leaves.
pub(crate) const CGROUP_REMOVE_MS: u64 = 2_000;
/// Control groups of the host that a search for leftovers looks at.
pub(crate) const GROUPS_MAX: usize = 16_384;
/// Bytes read from one file of /proc or of a control group.
pub(crate) const SMALL_FILE_MAX: u64 = 1 << 20;
/// The least room on the disk in which a command can start.
pub(crate) const DISK_MIN: u64 = 64 << 10;
/// The fewest files with which a command can start.
pub(crate) const INODES_MIN: u64 = 16;
/// How often is asked whether a count of what a job takes of the disk has ended.
pub(crate) const DISK_TURN: Duration = Duration::from_millis(5);
/// Bytes of one read of a directory.
pub(crate) const WALK_READ_BYTES: usize = 32 << 10;
/// Bytes of names of directories that a count has still to enter: hundreds of thousands of them.
pub(crate) const WALK_NAMES_MAX: usize = 64 << 20;
/// Descriptors of a job's processes that a count looks at.
pub(crate) const HELD_FILES_MAX: usize = 1 << 20;
/// Bytes of memory maps of a job's processes that a count looks at.
pub(crate) const HELD_MAPS_MAX: usize = 256 << 20;
/// How often in one count is looked for processes that came while others were looked at.
pub(crate) const HELD_ROUNDS: usize = 16;
/// Groups that a runtime may have made below a job's own.
pub(crate) const GROUPS_BELOW_MAX: usize = 64;
/// How often the kernel is asked what bounds a job has met.
pub(crate) const EVENTS_MS: u64 = 250;
/// How long a job may go on that has met a bound of the kernel's: so that it can say so.
pub(crate) const LAST_WORDS_MS: u64 = 1_000;
/// Processes of one job that are looked at for files without a name.
pub(crate) const MEMBERS_MAX: usize = 1 << 16;
/// How often all processes of a left control group are killed before it is given up.
pub(crate) const KILL_ROUNDS: usize = 16;
/// Processes that are held open while they are killed.
pub(crate) const KILLED_AT_ONCE: usize = 256;
/// The least memory in which an OCI runtime can start a command.
pub(crate) const RUNTIME_MEMORY_MIN: u64 = 48 << 20;
/// Processes and threads that an OCI runtime needs itself while it starts a command.
pub(crate) const RUNTIME_PIDS: u64 = 32;
/// How long an OCI runtime may take to tell its version.
pub(crate) const RUNTIME_ANSWER_MS: u64 = 5_000;
/// Bytes of a runtime's version that are read.
pub(crate) const RUNTIME_VERSION_MAX: usize = 4_096;
/// Bytes of a runtime's log that are read.
pub(crate) const RUNTIME_LOG_MAX: u64 = 64 << 10;
/// Entries of the kernel's list of foreign formats that are looked at.
pub(crate) const EMULATORS_MAX: usize = 256;
