//! The way to a target: its name is resolved once, each address judged, and exactly a judged one
//! connected to.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::Pin,
};

use tokio::{net::TcpStream, time::timeout};

use super::answer::{Fault, tried};
use crate::{
    limits::ADDRESSES_MAX,
    policy::{Host, Leave, Target},
    session::Inner,
};

/// The addresses of a name, some time later.
pub type Resolved = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of names.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of this name, in the order in which they should be tried. Never asked for what
    /// is an address itself.
    fn resolve(&self, name: &str) -> Resolved;
}

/// As this machine resolves names.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Resolved {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Whether this machine has the address. Nothing is sent: the kernel is asked for a socket there, and
/// where it gives one for any address, by which of its own it would go there.
fn is_own(address: IpAddr) -> bool {
    /// Nobody's.
    const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    let is_given = |address| UdpSocket::bind((address, 0)).is_ok();
    if is_given(address) && !is_given(NOWHERE.into()) {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let here = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    here.is_ok_and(|here| here.ip() == address)
}

impl Inner {
    /// A connection to an admitted target.
    pub(crate) async fn dial(&self, target: &Target, leave: Leave) -> Result<TcpStream, Fault> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let found = timeout(self.times.resolve, self.resolver.resolve(name)).await;
                let found = found.map_err(io::Error::from).flatten();
                found.map_err(|error| Fault::Unresolved(target.clone(), error))?
            }
        };
        let (mut refused, mut tries) = (None, Vec::new());
        let mut seen = Vec::new();
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            if seen.contains(&address) {
                continue;
            }
            seen.push(address);
            let own = is_own(address);
            if let Err(refusal) = self.policy.admit_address(target, leave, address, own) {
                refused.get_or_insert(refusal);
                continue;
            }
            let socket = SocketAddr::new(address, target.port);
            match self.connect(socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) => tries.push(tried(socket, &error)),
            }
        }
        match refused {
            Some(refusal) if tries.is_empty() => Err(refusal.into()),
            _ if tries.is_empty() => Err(Fault::Unresolved(
                target.clone(),
                io::Error::new(io::ErrorKind::NotFound, "it has none"),
            )),
            _ => Err(Fault::Unreachable(target.clone(), tries.join(", "))),
        }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = timeout(self.times.connect, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_knows_its_own_addresses() {
        assert!(is_own([127, 0, 0, 1].into()));
        assert!(is_own([127, 9, 9, 9].into()));
        // A documentation address is nobody's.
        assert!(!is_own([192, 0, 2, 1].into()));
    }
}
