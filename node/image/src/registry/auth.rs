//! Who asks a registry: nobody, a name with a password, or a token that the registry's own
//! authority gives for one repository.

use std::{
    cell::RefCell, collections::BTreeMap, fs::File, io::Read, os::unix::fs::MetadataExt, path::Path,
};

use data_encoding::BASE64;
use serde::Deserialize;

use crate::{
    error::{Doing, Result, document},
    limits,
};

/// Longest token or challenge that is taken, bytes.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// What Docker calls its own registry in its file.
const DOCKER: &str = "https://index.docker.io/v1/";

/// A name and a password, as they go into a header.
#[derive(Clone)]
pub(super) struct Credentials(String);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
}

impl Credentials {
    /// Those for a host in a file of the form of Docker's `config.json`, if it has any.
    pub(super) fn read(path: &Path, host: &str) -> Result<Option<Self>> {
        let what = format!("the credentials in {}", path.display());
        let words = || format!("read {what}");
        let file = File::open(path).doing(words)?;
        let meta = file.metadata().doing(words)?;
        if meta.mode() & 0o077 != 0 {
            let reason = "other users may read the file; `chmod 600` it";
            return Err(document(&what, reason));
        }
        let mut bytes = Vec::new();
        file.take(limits::AUTH_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .doing(words)?;
        // The words of the parser could hold a piece of the file.
        let parsed: AuthFile = serde_json::from_slice(&bytes).map_err(|error| {
            document(
                &what,
                format!("line {} is not as in Docker's config.json", error.line()),
            )
        })?;
        let mut names = vec![host.to_owned(), format!("https://{host}")];
        if host == "docker.io" {
            names.push(DOCKER.to_owned());
        }
        let Some(auth) = names.iter().find_map(|name| parsed.auths.get(name)) else {
            return Ok(None);
        };
        let encoded = match (auth.auth.as_str(), auth.username.as_str()) {
            ("", "") => return Ok(None),
            ("", name) => BASE64.encode(format!("{name}:{}", auth.password).as_bytes()),
            (auth, _) => auth.to_owned(),
        };
        let decoded = BASE64.decode(encoded.as_bytes());
        if !decoded.is_ok_and(|decoded| decoded.contains(&b':')) {
            return Err(document(
                &what,
                format!("what it has for {host} is no name and password"),
            ));
        }
        Ok(Some(Self(encoded)))
    }
}

/// What a registry was shown, and what it gave for it.
pub(super) struct Access {
    credentials: Option<Credentials>,
    repository: String,
    header: RefCell<Option<String>>,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Access {
    pub(super) fn new(credentials: Option<Credentials>, repository: &str) -> Self {
        Self {
            credentials,
            repository: repository.to_owned(),
            header: RefCell::new(None),
        }
    }

    /// The header to send, once there is one.
    pub(super) fn header(&self) -> Option<String> {
        self.header.borrow().clone()
    }

    /// The name and password.
    pub(super) fn basic(&self) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        Some(format!("Basic {}", credentials.0))
    }

    /// Answers a challenge: with the password at once, or with where a token must be asked for.
    pub(super) fn challenged(
        &self,
        challenge: &str,
    ) -> std::result::Result<Option<String>, String> {
        if challenge.len() > TOKEN_BYTES_MAX {
            return Err("its challenge is too long".to_owned());
        }
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            let basic = self.basic();
            let basic = basic.ok_or("it wants a name and password; give them with --auth-file")?;
            *self.header.borrow_mut() = Some(basic);
            return Ok(None);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(format!(
                "it wants to be asked in the unknown way {scheme:?}"
            ));
        }
        let parameters = parameters(rest);
        let realm = parameters
            .get("realm")
            .filter(|realm| realm.starts_with("https://") || realm.starts_with("http://"))
            .ok_or("it does not say where to get a token")?;
        let mut url = realm.clone();
        let mut add = |name: &str, value: &str| {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(name);
            url.push('=');
            escape(&mut url, value);
        };
        if let Some(service) = parameters.get("service") {
            add("service", service);
        }
        // Never more than what is needed, whatever it asks us to ask for.
        add("scope", &format!("repository:{}:pull", self.repository));
        Ok(Some(url))
    }

    /// Takes the token that was given.
    pub(super) fn granted(&self, answer: &[u8]) -> std::result::Result<(), String> {
        let granted: Granted =
            serde_json::from_slice(answer).map_err(|_| "its answer holds no token".to_owned())?;
        let token = match granted.token.is_empty() {
            true => granted.access_token,
            false => granted.token,
        };
        let plain = |b: u8| b.is_ascii_graphic();
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(plain) {
            return Err("its token is none".to_owned());
        }
        *self.header.borrow_mut() = Some(format!("Bearer {token}"));
        Ok(())
    }
}

/// What a registry says in the body of a refusal.
pub(super) fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        message: String,
    }
    let errors: Option<Errors> = serde_json::from_slice(body).ok();
    let first = errors.and_then(|errors| errors.errors.into_iter().next());
    first.map(|error| error.message).unwrap_or_default()
}

/// Splits `name="value",name=value`.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name, value.to_owned());
        rest = next;
    }
    found
}

fn escape(url: &mut String, value: &str) {
    for b in value.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~:/".contains(&b) {
            url.push(char::from(b));
        } else {
            url.push_str(&format!("%{b:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_becomes_the_question_for_a_token() {
        let access = Access::new(None, "a/b");
        let challenge = r#"Bearer realm="https://auth.example/token",service="reg & co",scope="repository:x:push""#;
        let url = access.challenged(challenge).expect("good").expect("a URL");
        assert_eq!(
            url,
            "https://auth.example/token?service=reg%20%26%20co&scope=repository:a/b:pull"
        );
        access.granted(br#"{"access_token":"t"}"#).expect("good");
        assert_eq!(access.header().as_deref(), Some("Bearer t"));
        assert!(access.granted(br#"{"token":"a\r\nX: y"}"#).is_err());
        assert!(access.challenged("Basic realm=x").is_err());
        assert!(access.challenged("Bearer realm=\"file:///etc\"").is_err());
        assert!(access.challenged("Negotiate").is_err());
    }
}
