//! The secrets that one run was given: in this process's memory and nowhere else, overwritten when
//! the run is gone. A step sees those that it names, as files that only its user can read; no log,
//! layer, key, message or error ever holds a value.

use std::{collections::BTreeMap, fmt, sync::Arc};

use caravan_protocol::action::Run;
use caravan_sandbox::SecretFile;
use zeroize::Zeroizing;

use super::redact::{RedactError, Redactor};

/// Values by id. Cheap to clone; the bytes are there once.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    values: Arc<BTreeMap<String, Zeroizing<Vec<u8>>>>,
}

/// Why a step cannot have its secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SecretError {
    /// Nobody has given it.
    #[error(
        "find a value for the secret {0:?}: this run was given none; begin it again with \
         --secret {0}:FILE"
    )]
    Missing(String),
    /// It could not be kept out of the log.
    #[error(transparent)]
    Redact(#[from] RedactError),
}

impl Secrets {
    /// These secrets; of two with one id the last counts.
    pub(crate) fn new(values: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let values = values.into_iter();
        let values = values.map(|(id, value)| (id, Zeroizing::new(value)));
        Self {
            values: Arc::new(values.collect()),
        }
    }

    /// What a step is to see, and what takes the same out of its log.
    pub(super) fn of(&self, run: &Run) -> Result<(Vec<SecretFile>, Option<Redactor>), SecretError> {
        let mut files = Vec::with_capacity(run.secrets.len());
        let mut named: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for secret in &run.secrets {
            let value = self.values.get(&secret.id);
            let value = value.ok_or_else(|| SecretError::Missing(secret.id.clone()))?;
            named.insert(&secret.id, value);
            files.push(SecretFile {
                target: secret.target.clone().into(),
                value: value.to_vec().into(),
            });
        }
        // One without a byte has nothing to hide.
        named.retain(|_, value| !value.is_empty());
        let named: Vec<(&str, &[u8])> = named.into_iter().collect();
        let redactor = match named.is_empty() {
            true => None,
            false => Some(Redactor::new(&named)?),
        };
        Ok((files, redactor))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({:?})", self.values.keys())
    }
}
