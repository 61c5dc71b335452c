//! The host's own proxy, where the host has one: jobs' requests that the policy admits go through it.
//!
//! It resolves the names, so what addresses they have is its business: only names are judged here, and
//! addresses that are not public are refused where they are spelled out.

use std::{fmt, io};

use data_encoding::BASE64;
use tokio::{net::TcpStream, time::timeout};

use super::answer::Fault;
use crate::{
    policy::{Host, Kind, Leave, Target, address},
    session::Inner,
};

/// Another proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    host: String,
    port: u16,
    authorization: Option<String>,
    exempt: Vec<String>,
}

/// Why a proxy of the host is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Not an http proxy.
    #[error("use the proxy in {variable}: only http://HOST:PORT is understood")]
    Scheme {
        /// Where it was said.
        variable: &'static str,
    },
}

const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"];
const EXEMPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

impl Upstream {
    /// What the environment says, asked for by the names of its variables.
    ///
    /// # Errors
    /// If there is one that is not understood: it may be there to keep jobs in.
    pub fn from_environment(
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, UpstreamError> {
        let first = |names: &[&'static str]| {
            let said = names.iter().filter_map(|name| Some((*name, get(name)?)));
            let mut said = said.filter(|(_, value)| !value.is_empty());
            said.next()
        };
        let Some((variable, url)) = first(&VARIABLES) else {
            return Ok(None);
        };
        let exempt = first(&EXEMPTIONS)
            .map(|(_, value)| value)
            .unwrap_or_default();
        let exempt = exempt
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let exempt = exempt.map(str::to_ascii_lowercase).collect();
        let own = Self::parse(&url).ok_or(UpstreamError::Scheme { variable })?;
        Ok(Some(Self { exempt, ..own }))
    }

    fn parse(url: &str) -> Option<Self> {
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return None,
            None => url,
        };
        let rest = rest.trim_end_matches('/');
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        if place.contains('/') {
            return None;
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (place, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let authorization = match user {
            Some(user) => Some(BASE64.encode(&unescaped(user)?)),
            None => None,
        };
        (!host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port,
            authorization,
            exempt: Vec::new(),
        })
    }

    fn exempts(&self, host: &Host) -> bool {
        let name = host.to_string();
        self.exempt.iter().any(|exempt| {
            let exempt = exempt.trim_start_matches('.');
            let below = || {
                name.strip_suffix(exempt)
                    .is_some_and(|rest| rest.ends_with('.'))
            };
            exempt == "*" || name == exempt || below()
        })
    }

    /// The field by which it knows us, as a line of a head.
    pub(crate) fn authorization(&self) -> Option<String> {
        let own = self.authorization.as_ref()?;
        Some(format!("Proxy-Authorization: Basic {own}\r\n"))
    }

    /// The request for a tunnel.
    pub(crate) fn connect(&self, target: &Target) -> Vec<u8> {
        let own = self.authorization().unwrap_or_default();
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{own}\r\n").into_bytes()
    }
}

/// Without the escapes of a URL.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
    }
    Some(out)
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its password stays out of logs.
        write!(f, "Upstream({}:{})", self.host, self.port)
    }
}

/// Whether the answer to a request for a tunnel grants it.
pub(crate) fn granted(head: &[u8], target: &Target) -> Result<(), Fault> {
    let mut fields = [httparse::EMPTY_HEADER; crate::limits::FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let code = match answer.parse(head) {
        Ok(_) => answer.code.unwrap_or(0),
        Err(_) => 0,
    };
    match code {
        200..=299 => Ok(()),
        code => Err(Fault::Upstream(target.clone(), code.to_string())),
    }
}

impl Inner {
    /// The proxy that this target is reached through, if any.
    pub(crate) fn upstream_for(&self, target: &Target, leave: Leave) -> Option<&Upstream> {
        let upstream = self.upstream.as_ref()?;
        let is_near = match target.host {
            Host::Address(own) => address::kind(own) != Kind::Public,
            Host::Name(_) => false,
        };
        (!leave.direct && !is_near && !upstream.exempts(&target.host)).then_some(upstream)
    }

    pub(crate) async fn dial_upstream(&self, upstream: &Upstream) -> Result<TcpStream, Fault> {
        let place = format!("{}:{}", upstream.host, upstream.port);
        let connect = TcpStream::connect((upstream.host.as_str(), upstream.port));
        let connected = timeout(self.times.connect, connect).await;
        connected
            .map_err(io::Error::from)
            .flatten()
            .map_err(|error| Fault::NoUpstream(place, error))
    }
}

#[cfg(test)]
mod tests;
