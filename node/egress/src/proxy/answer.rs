//! Answers: our own, which say why something is not done, and servers', read and written anew.

use std::{io, net::SocketAddr, time::Duration};

use crate::{
    limits::FIELDS_MAX,
    policy::{Refusal, Spelling, Target, target::shown},
};

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The client went away.
    #[error("the client is gone")]
    Gone,
    /// A connection was cut in its middle; its end is all that can be said.
    #[error("the connection was cut")]
    Cut,
    /// Nobody waits for ever.
    #[error("the request's head did not come within {} s", .0.as_secs())]
    Slow(Duration),
    /// More than any request.
    #[error("the request's head is longer than {0} bytes")]
    HeadTooLong(usize),
    /// It cannot be read in one way only.
    #[error("the request is not taken: {0}")]
    Malformed(&'static str),
    /// Not for reading.
    #[error("{0} is not passed on in the clear, only GET and HEAD; over https everything is")]
    Method(String),
    /// A scheme that we do not speak.
    #[error("{0}:// is not spoken here, only http and https")]
    Scheme(String),
    /// https without a tunnel.
    #[error("https goes through CONNECT")]
    NeedsTunnel,
    /// A page of ours.
    #[error(
        "this is a proxy: ask it for a whole address, as with http_proxy=http://127.0.0.1:3128"
    )]
    NotAProxyRequest,
    /// The policy says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A tunnel that would carry anything.
    #[error("{0} is reached by plain requests and not by a tunnel")]
    TunnelToPlain(Target),
    /// A tunnel to the port of https with something else in it.
    #[error("a tunnel to {0} carries TLS and nothing else")]
    NotTls(Target),
    /// A tunnel to one host for another behind the same address.
    #[error("a tunnel to {target} was used to ask for {}", asked(.name))]
    OtherName {
        /// What the tunnel was granted for.
        target: Target,
        /// What TLS asked for in it.
        name: Option<String>,
    },
    /// The job has moved all the bytes that it may.
    #[error("the job has moved the {0} bytes that it may move over the network")]
    Spent(u64),
    /// Only what was declared.
    #[error("{0} is none of the files that this step declared, and they are all that it may fetch")]
    NotDeclared(String),
    /// A declared file that cannot be had.
    #[error("a declared file could not be fetched: {0}")]
    NotFetched(String),
    /// The name has no address.
    #[error("find the address of {0}: {1}")]
    Unresolved(Target, #[source] io::Error),
    /// Nobody is there.
    #[error("reach {0}: {1}")]
    Unreachable(Target, String),
    /// The host's own proxy is not there.
    #[error("reach this node's own proxy at {0}: {1}")]
    NoUpstream(String, #[source] io::Error),
    /// The host's own proxy says no.
    #[error("this node's own proxy does not reach {0}: it says {1}")]
    Upstream(Target, String),
    /// A server that is not understood.
    #[error("the answer of {0} is not passed on: {1}")]
    BadAnswer(Target, &'static str),
}

fn asked(name: &Option<String>) -> String {
    name.as_deref().map_or_else(|| "nobody".to_owned(), shown)
}

impl From<Spelling> for Fault {
    fn from(spelling: Spelling) -> Self {
        Self::Refused(spelling.into())
    }
}

impl Fault {
    /// What a fault of reading means when a server is read.
    pub(crate) fn of_server(self, target: &Target) -> Self {
        let what = match self {
            Self::Gone => "it ended before there was one",
            Self::Slow(_) => "it did not come in time",
            Self::HeadTooLong(_) => "its head is too long",
            other => return other,
        };
        Self::BadAnswer(target.clone(), what)
    }

    /// Whether somebody who reads the job's log should know.
    pub(crate) const fn is_told(&self) -> bool {
        let is_trouble = matches!(
            self,
            Self::NotFetched(_)
                | Self::Unresolved(..)
                | Self::Unreachable(..)
                | Self::NoUpstream(..)
                | Self::Upstream(..)
        );
        self.is_ours() || is_trouble
    }

    /// Whether it is our rules that stand in the way, and not the world.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Method(_)
                | Self::Scheme(_)
                | Self::TunnelToPlain(_)
                | Self::NotTls(_)
                | Self::OtherName { .. }
                | Self::NotDeclared(_)
                | Self::Malformed(_)
        )
    }

    /// In one line of ASCII, whatever others have said in it.
    pub(crate) fn line(&self) -> String {
        let text = self.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let plain = |c: char| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        };
        lines.join("; ").chars().map(plain).collect()
    }

    const fn code(&self) -> u16 {
        match self {
            Self::Gone | Self::Cut => 0,
            Self::Slow(_) => 408,
            Self::HeadTooLong(_) => 431,
            Self::Malformed(_) | Self::NeedsTunnel | Self::NotAProxyRequest => 400,
            Self::Method(_) => 405,
            Self::Scheme(_) => 501,
            Self::Refused(_) | Self::TunnelToPlain(_) | Self::Spent(_) | Self::NotDeclared(_) => {
                403
            }
            // Said inside of a tunnel, where HTTP is not understood.
            Self::NotTls(_) | Self::OtherName { .. } => 0,
            Self::NotFetched(_)
            | Self::Unresolved(..)
            | Self::Unreachable(..)
            | Self::NoUpstream(..)
            | Self::Upstream(..)
            | Self::BadAnswer(..) => 502,
        }
    }

    /// The words for the client, if it can hear any. Programs like apt show the status line alone, so
    /// the reason is in there too.
    pub(crate) fn answer(&self) -> Option<Vec<u8>> {
        if matches!(self, Self::NotTls(_) | Self::OtherName { .. }) {
            // TLS's own way to say it: fatal, unrecognized_name.
            return Some(vec![21, 3, 3, 0, 2, 2, 112]);
        }
        let code = self.code();
        if code == 0 {
            return None;
        }
        let text = format!("caravan: {}", self.line());
        let reason: String = text.chars().take(200).collect();
        let length = text.len() + 1;
        let head = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{text}\n"
        );
        Some(head.into_bytes())
    }
}

/// One address that was tried, for the words of a failure.
pub(crate) fn tried(address: SocketAddr, error: &io::Error) -> String {
    format!("{}: {error}", address.ip())
}

/// A server's head.
#[derive(Debug)]
pub(crate) struct Head {
    status: String,
    fields: Vec<(String, Vec<u8>)>,
    length: Option<u64>,
}

/// Fields of an answer that are about one connection.
const OWN: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "upgrade",
    "alt-svc",
];

impl Head {
    /// Reads a server's head; nothing for one that only announces another.
    pub(crate) fn parse(
        head: &[u8],
        to_head: bool,
        target: &Target,
    ) -> Result<Option<Self>, Fault> {
        let bad = |what| Fault::BadAnswer(target.clone(), what);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut answer = httparse::Response::new(&mut fields);
        match answer.parse(head) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            _ => return Err(bad("it is not HTTP")),
        }
        let (Some(code), reason) = (answer.code, answer.reason.unwrap_or_default()) else {
            return Err(bad("it is not HTTP"));
        };
        match code {
            101 => return Err(bad("it speaks another protocol")),
            100..=199 => return Ok(None),
            200..=599 => {}
            _ => return Err(bad("its code is none")),
        }
        let named = |name: &'static str| {
            let is_it = move |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
            answer.headers.iter().filter(is_it)
        };
        let is_coded = named("transfer-encoding").next().is_some();
        let mut length = None;
        for field in named("content-length") {
            let text = std::str::from_utf8(field.value).unwrap_or_default();
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let own = text.parse().ok().filter(|_| digits);
            let own = own.ok_or_else(|| bad("its length is none"))?;
            if is_coded || length.is_some_and(|other| other != own) {
                return Err(bad("its length is said twice"));
            }
            length = Some(own);
        }
        if to_head || code == 204 || code == 304 {
            length = Some(0);
        }
        let stays = |name: &str| !OWN.contains(&name.to_ascii_lowercase().as_str());
        let fields = answer.headers.iter().filter(|field| stays(field.name));
        let fields = fields.map(|field| (field.name.to_owned(), field.value.to_owned()));
        Ok(Some(Self {
            status: format!("{code} {reason}"),
            fields: fields.collect(),
            length,
        }))
    }

    /// How many bytes follow; none where only the end of the connection tells.
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// The head as the client gets it.
    pub(crate) fn written(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"Connection: close\r\n\r\n");
        head
    }
}

#[cfg(test)]
mod tests;
