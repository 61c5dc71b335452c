//! A request's head: read strictly, judged as a whole, and written anew for whoever gets it.

use super::{answer::Fault, upstream::Upstream};
use crate::{
    limits::FIELDS_MAX,
    policy::{Spelling, Target},
};

/// A request that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// `CONNECT`.
    Tunnel(Target),
    /// `GET` or `HEAD`.
    Plain(Plain),
}

/// A reading request without a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain {
    /// `HEAD` rather than `GET`.
    pub(crate) is_head: bool,
    /// Whose page; none where the client takes us for a server.
    pub(crate) target: Option<Target>,
    /// The client's version: one of 1.0 does not know answers in pieces.
    version: u8,
    /// Path and query, from the slash on.
    pub(crate) path: String,
    /// The fields that are forwarded.
    fields: Vec<(String, Vec<u8>)>,
}

/// Fields that are about one connection, or that we write ourselves.
const OWN: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "http2-settings",
];

/// Reads a head that ends with an empty line.
pub(crate) fn parse(head: &[u8]) -> Result<Request, Fault> {
    strict_lines(head)?;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Fault::Malformed("the head does not end where it ends")),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::Malformed("too many fields")),
        Err(_) => return Err(Fault::Malformed("it is not HTTP")),
    }
    let (Some(method), Some(uri)) = (request.method, request.path) else {
        return Err(Fault::Malformed("it is not HTTP"));
    };
    if !uri
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'#')
    {
        return Err(Fault::Malformed(
            "its address has characters that no address has",
        ));
    }
    no_body(request.headers)?;
    let is_head = match method {
        "CONNECT" => {
            let target = Target::parse(uri, None)?;
            agrees(request.headers, &target, 443)?;
            return Ok(Request::Tunnel(target));
        }
        "GET" => false,
        "HEAD" => true,
        other => return Err(Fault::Method(other.chars().take(32).collect())),
    };
    let (target, path) = address(uri)?;
    match &target {
        Some(target) => agrees(request.headers, target, 80)?,
        None => drop(one(request.headers, "host")?),
    }
    Ok(Request::Plain(Plain {
        is_head,
        target,
        version: request.version.unwrap_or(0),
        path,
        fields: forwarded(request.headers),
    }))
}

/// Splits `http://AUTHORITY/PATH`, or a path alone.
pub(crate) fn address(uri: &str) -> Result<(Option<Target>, String), Fault> {
    if uri.starts_with('/') {
        return Ok((None, uri.to_owned()));
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Err(Fault::Malformed("its address is none"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => return Err(Fault::NeedsTunnel),
        _ => return Err(Fault::Scheme(scheme.chars().take(16).collect())),
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return Err(Spelling::Empty.into());
    }
    let target = Target::parse(authority, Some(80))?;
    let path = match path.chars().next() {
        Some('/') => path.to_owned(),
        // `http://host?query`
        _ => format!("/{path}"),
    };
    Ok((Some(target), path))
}

/// Lines end with CR LF and neither comes alone: what some read as one line others read as two.
fn strict_lines(head: &[u8]) -> Result<(), Fault> {
    let loose = Fault::Malformed("a line of its head does not end with CR LF");
    for (at, byte) in head.iter().enumerate() {
        let fits = match byte {
            b'\n' => at > 0 && head[at - 1] == b'\r',
            b'\r' => head.get(at + 1) == Some(&b'\n'),
            0 => false,
            _ => true,
        };
        if !fits {
            return Err(loose);
        }
    }
    Ok(())
}

fn named<'a>(
    fields: &'a [httparse::Header<'a>],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    let is_it = move |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
    fields.iter().filter(is_it).map(|field| field.value)
}

fn one<'a>(
    fields: &'a [httparse::Header<'a>],
    name: &'static str,
) -> Result<Option<&'a [u8]>, Fault> {
    let mut values = named(fields, name);
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Fault::Malformed(
            "a field that may be there once is there twice",
        )),
    }
}

/// Nothing follows the head: a body that two sides measure differently is how requests are smuggled.
fn no_body(fields: &[httparse::Header<'_>]) -> Result<(), Fault> {
    let length = one(fields, "content-length")?;
    let is_none = length.is_none_or(|length| length == b"0");
    if is_none && named(fields, "transfer-encoding").next().is_none() {
        Ok(())
    } else {
        Err(Fault::Malformed(
            "it has a body, and what only reads has none",
        ))
    }
}

/// A `Host` that is there says the same as the address.
fn agrees(fields: &[httparse::Header<'_>], target: &Target, usual: u16) -> Result<(), Fault> {
    let Some(host) = one(fields, "host")? else {
        return Ok(());
    };
    let host = std::str::from_utf8(host).map_err(|_| Fault::Malformed("its Host is no text"))?;
    let said = Target::parse(host, Some(usual))?;
    // Some clients leave the port out of it.
    let is_same =
        said == *target || (said.host == target.host && !host.ends_with(char::is_numeric));
    if is_same {
        Ok(())
    } else {
        Err(Fault::Malformed("its Host is another than its address has"))
    }
}

fn forwarded(fields: &[httparse::Header<'_>]) -> Vec<(String, Vec<u8>)> {
    let listed: Vec<String> = named(fields, "connection")
        .flat_map(|value| value.split(|b| *b == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .collect();
    let stays = |name: &str| {
        let name = name.to_ascii_lowercase();
        !OWN.contains(&name.as_str()) && !listed.contains(&name)
    };
    fields
        .iter()
        .filter(|field| stays(field.name))
        .map(|field| (field.name.to_owned(), field.value.to_owned()))
        .collect()
}

impl Plain {
    /// The head as a server gets it, or another proxy.
    pub(crate) fn written(&self, target: &Target, upstream: Option<&Upstream>) -> Vec<u8> {
        let method = if self.is_head { "HEAD" } else { "GET" };
        let authority = target.authority(80);
        let mut head = match upstream {
            None => format!("{method} {}", self.path),
            Some(_) => format!("{method} http://{authority}{}", self.path),
        };
        head.push_str(&format!(" HTTP/1.{}\r\n", self.version));
        head.push_str(&format!("Host: {authority}\r\n"));
        if let Some(line) = upstream.and_then(Upstream::authorization) {
            head.push_str(&line);
        }
        let mut head = head.into_bytes();
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
