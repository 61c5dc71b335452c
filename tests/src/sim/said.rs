//! What a machine says about a job that it ran: in place of a signed claim, who, what and for whom.

use caravan_protocol::offer::AttemptId;

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// The first eight bytes of the job's name.
    pub job: [u8; 8],
    /// Index of the machine for which it ran.
    pub owner: usize,
    /// Index of the machine that ran it.
    pub host: usize,
}

impl Said {
    /// What `host` says about an attempt of `owner`.
    #[must_use]
    pub fn of(attempt: AttemptId, owner: usize, host: usize) -> Self {
        let mut job = [0; 8];
        job.copy_from_slice(&attempt.job.action().as_bytes()[..8]);
        Self { job, owner, host }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let number = |at: usize| u32::try_from(at).expect("few hosts").to_be_bytes();
        [&self.job[..], &number(self.owner), &number(self.host)].concat()
    }

    /// Reads what `encode` wrote.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (job, rest) = bytes.split_first_chunk()?;
        let (owner, rest) = rest.split_first_chunk()?;
        let (host, []) = rest.split_first_chunk()? else {
            return None;
        };
        let number = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
        Some(Self {
            job: *job,
            owner: number(owner)?,
            host: number(host)?,
        })
    }
}
