//! A registry over HTTP: the part of the OCI distribution protocol that pulling needs. It is asked
//! with encryption unless it is this machine or a person insists; what it answers is believed no
//! further than its digests.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use ureq::{
    Agent, Body,
    config::RedirectAuthHeaders,
    http::{Response, StatusCode},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider},
};

use crate::{
    choose::Carrier,
    digest::{Digest, Tap},
    document::{ACCEPTED, Descriptor, Document},
    error::{Doing, ImageError, Result, document},
    import::Options,
    limits,
    source::Reference,
};

mod auth;

use auth::{Access, Credentials};

/// Where Debian keeps the authorities that it believes.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Docker's own registry answers at another name than its images have.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// Longest words of a registry that are shown.
const WORDS_MAX: usize = 200;

/// One image of a registry.
pub(crate) struct Registry {
    reference: Reference,
    agent: Agent,
    /// `https://host/v2/repository`.
    base: String,
    plain: bool,
    access: Access,
}

impl Registry {
    pub(crate) fn open(reference: &Reference, options: &Options) -> Result<Self> {
        let plain = options.insecure || (reference.is_local() && options.ca_file.is_none());
        let credentials = match &options.auth_file {
            Some(file) => Credentials::read(file, &reference.host)?,
            None => None,
        };
        let seconds = |s| Some(Duration::from_secs(s));
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!plain)
            .max_redirects(limits::REDIRECTS_MAX)
            // Blobs are often elsewhere, and who serves them there has no business with a token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(seconds(limits::CONNECT_S))
            .timeout_recv_response(seconds(limits::CONNECT_S))
            .timeout_per_read(seconds(limits::SILENCE_S))
            .user_agent("caravan");
        if reference.is_local() {
            config = config.proxy(None);
        }
        if !plain {
            config = config.tls_config(tls(options)?);
        }
        let host = match reference.host.as_str() {
            name if name == DOCKER.0 => DOCKER.1,
            host => host,
        };
        let scheme = if plain { "http" } else { "https" };
        Ok(Self {
            agent: Agent::new_with_config(config.build()),
            base: format!("{scheme}://{host}/v2/{}", reference.repository),
            plain,
            access: Access::new(credentials, &reference.repository),
            reference: reference.clone(),
        })
    }

    /// The document that the reference names, and its digest.
    pub(crate) fn root(&self) -> Result<(Digest, Document)> {
        let wanted = self.reference.wanted();
        let what = format!("{}", self.reference);
        let response = self.get(&format!("manifests/{wanted}"), None)?;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let said = header("content-type").unwrap_or_default();
        let said = said.split(';').next().unwrap_or_default().trim().to_owned();
        // What says nothing is left to the document itself.
        let said = match said.as_str() {
            "application/json" | "text/plain" | "application/octet-stream" => String::new(),
            _ => said,
        };
        let named = header("docker-content-digest").and_then(|digest| digest.parse().ok());
        let bytes = self.small(response, &what, limits::MANIFEST_BYTES_MAX)?;
        let mut digest = Digest::of(&bytes);
        for expected in [self.reference.digest.clone(), named].into_iter().flatten() {
            let tap = Tap::new(expected.algorithm());
            tap.add(&bytes);
            tap.check(&what, &expected)?;
            digest = expected;
        }
        Ok((digest, Document::parse(&what, &bytes, &said)?))
    }

    /// Asks for something; authenticates where that is asked for, once.
    fn get(&self, path: &str, from: Option<u64>) -> Result<Response<Body>> {
        let response = self.try_get(path, from)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.good(path, response, from);
        }
        let challenge = response.headers().get("www-authenticate");
        let challenge = challenge
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        drop(response);
        self.authenticate(&challenge)?;
        let response = self.try_get(path, from)?;
        self.good(path, response, from)
    }

    fn try_get(&self, path: &str, from: Option<u64>) -> Result<Response<Body>> {
        let mut request = self
            .agent
            .get(format!("{}/{path}", self.base))
            .header("Accept", ACCEPTED.join(", "));
        if let Some(authorization) = self.access.header() {
            request = request.header("Authorization", authorization);
        }
        if let Some(from) = from {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request
            .call()
            .map_err(|error| self.error(path, &network(&error)))
    }

    fn authenticate(&self, challenge: &str) -> Result<()> {
        let what = "a token";
        let realm = self
            .access
            .challenged(challenge)
            .map_err(|reason| self.error(what, &reason))?;
        let Some(realm) = realm else { return Ok(()) };
        let mut request = self.agent.get(&realm);
        // A password goes to whom the registry sends it, but never where others could read it.
        let safe = realm.starts_with("https://") || self.is_own(&realm);
        if let Some(basic) = self.access.basic().filter(|_| safe) {
            request = request.header("Authorization", basic);
        }
        let response = request
            .call()
            .map_err(|error| self.error(what, &network(&error)))?;
        let response = self.good(what, response, None)?;
        let bytes = self.small(response, what, limits::ANSWER_BYTES_MAX)?;
        self.access
            .granted(&bytes)
            .map_err(|reason| self.error(what, &reason))
    }

    /// Whether a URL is of the registry's own host.
    fn is_own(&self, url: &str) -> bool {
        let host = |url: &str| {
            let rest = url.split_once("://").map(|(_, rest)| rest)?;
            rest.split(['/', '?']).next().map(str::to_owned)
        };
        self.plain && host(url) == host(&self.base)
    }

    /// Refuses an answer that is none.
    fn good(
        &self,
        what: &str,
        response: Response<Body>,
        from: Option<u64>,
    ) -> Result<Response<Body>> {
        let status = response.status();
        let wanted = match from {
            Some(_) => StatusCode::PARTIAL_CONTENT,
            None => StatusCode::OK,
        };
        if status == wanted {
            return Ok(response);
        }
        let hint = match status.as_u16() {
            401 | 403 => {
                "; it may be private, or not there: give a name and password with --auth-file"
            }
            404 => "; is there such an image?",
            429 => "; try again later, or give a name and password with --auth-file",
            _ => "",
        };
        let mut words = Vec::new();
        let body = response.into_body().into_reader();
        let _ = body.take(limits::ANSWER_BYTES_MAX).read_to_end(&mut words);
        let words = auth::words(&words);
        let words: String = words
            .chars()
            .filter(|c| !c.is_control())
            .take(WORDS_MAX)
            .collect();
        let said = if words.is_empty() {
            String::new()
        } else {
            format!(" and says {words:?}")
        };
        Err(self.error(what, &format!("it answers {status}{said}{hint}")))
    }

    fn small(&self, response: Response<Body>, what: &str, max: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let body = response.into_body().into_reader();
        body.take(max + 1)
            .read_to_end(&mut bytes)
            .doing(|| format!("read {what} from {}", self.reference.host))?;
        if bytes.len() as u64 > max {
            return Err(ImageError::TooMuch {
                what: what.to_owned(),
                max,
                unit: "bytes",
            });
        }
        Ok(bytes)
    }

    fn error(&self, what: &str, reason: &str) -> ImageError {
        ImageError::Registry {
            host: self.reference.host.clone(),
            what: format!("{what} of {}", self.reference.repository),
            reason: reason.to_owned(),
        }
    }
}

impl Carrier for Registry {
    fn name(&self) -> String {
        self.reference.to_string()
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>> {
        let path = format!("manifests/{}", descriptor.digest);
        Ok(Box::new(self.get(&path, None)?.into_body().into_reader()))
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>> {
        let path = format!("blobs/{}", descriptor.digest);
        let body = self.get(&path, None)?.into_body().into_reader();
        Ok(Box::new(Download {
            registry: self,
            path,
            body: Box::new(body),
            at: 0,
            size: descriptor.size.unsigned_abs(),
            resumes: 0,
        }))
    }
}

/// A blob on its way here; it goes on where it broke off.
struct Download<'a> {
    registry: &'a Registry,
    path: String,
    body: Box<dyn Read>,
    at: u64,
    size: u64,
    resumes: u32,
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let broken = match self.body.read(buffer) {
                Ok(0) if self.at < self.size && !buffer.is_empty() => {
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the registry broke off")
                }
                Ok(read) => {
                    self.at += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.resumes += 1;
            if self.resumes > limits::RESUMES_MAX {
                return Err(broken);
            }
            // Whatever comes is hashed with the rest.
            match self.registry.get(&self.path, Some(self.at)) {
                Ok(response) => self.body = Box::new(response.into_body().into_reader()),
                Err(_) => return Err(broken),
            }
        }
    }
}

fn network(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "there is no such host".to_owned(),
        ureq::Error::RequireHttpsOnly(_) => {
            "it wants to talk without encryption; --insecure allows that".to_owned()
        }
        other => other.to_string(),
    }
}

/// Encryption with the authorities of the system, or those of a file.
fn tls(options: &Options) -> Result<TlsConfig> {
    let named = options.ca_file.clone();
    let path = named.unwrap_or_else(|| SYSTEM_AUTHORITIES.into());
    let what = format!("the certificate authorities of {}", path.display());
    let words = || format!("read {what}");
    let mut pem = Vec::new();
    let file = std::fs::File::open(&path).doing(words)?;
    file.take(limits::CA_FILE_BYTES_MAX)
        .read_to_end(&mut pem)
        .doing(words)?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(document(&what, error.to_string())),
        }
    }
    if certificates.is_empty() {
        let reason = "there is none in it; `apt-get install ca-certificates` brings Debian's";
        return Err(document(&what, reason));
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build())
}

/// The door for tests and fuzzers to what a registry says about who may read: a challenge, a line's
/// end, and the answer of the server of tokens.
pub(crate) fn door(bytes: &[u8]) -> Option<String> {
    let (challenge, answer) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let access = Access::new(None, "library/debian");
    let url = access.challenged(challenge).ok()??;
    let _ = auth::words(answer.as_bytes());
    access.granted(answer.as_bytes()).ok()?;
    Some(url)
}
