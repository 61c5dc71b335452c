//! Hosts on one bridge, each in a network namespace behind a link of some rate. They go with it.

use std::{fs::File, process::Command};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Failure;

pub(crate) struct Lan {
    mark: String,
    hosts: usize,
}

fn run(program: &str, words: &str) -> Result<(), Failure> {
    let done = Command::new(program).args(words.split(' ')).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(format!("{program} {words}: {said}").into())
}

impl Lan {
    /// So many hosts, with so many Mbit/s each way.
    pub(crate) fn new(hosts: usize, rate: u32) -> Result<Self, Failure> {
        let mark = format!("cvt{}", std::process::id());
        let lan = Self { mark, hosts };
        let mark = &lan.mark;
        let ip = |words: String| run("ip", &words);
        ip(format!("netns add {mark}-hub"))?;
        ip(format!(
            "-n {mark}-hub link add br0 type bridge mcast_snooping 0"
        ))?;
        ip(format!("-n {mark}-hub link set br0 up"))?;
        for host in 0..hosts {
            let name = format!("{mark}-{host}");
            ip(format!("netns add {name}"))?;
            ip(format!("-n {name} link set lo up"))?;
            ip(format!(
                "-n {mark}-hub link add p{host} type veth peer name eth0 netns {name}"
            ))?;
            ip(format!("-n {mark}-hub link set p{host} master br0 up"))?;
            ip(format!("-n {name} addr add {}/24 dev eth0", address(host)))?;
            ip(format!("-n {name} link set eth0 up"))?;
            let shape = format!("root tbf rate {rate}mbit burst 64kb latency 100ms");
            run("tc", &format!("-n {name} qdisc replace dev eth0 {shape}"))?;
            run(
                "tc",
                &format!("-n {mark}-hub qdisc replace dev p{host} {shape}"),
            )?;
        }
        Ok(lan)
    }

    /// Moves this thread, and those that it starts, to a host.
    pub(crate) fn enter(&self, host: usize) -> Result<(), Failure> {
        let file = File::open(format!("/run/netns/{}-{host}", self.mark))?;
        Ok(move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(LinkNameSpaceType::Network),
        )?)
    }
}

/// The address of a host.
pub(crate) fn address(host: usize) -> String {
    format!("192.0.2.{}", host + 1)
}

impl Drop for Lan {
    fn drop(&mut self) {
        let hosts = (0..self.hosts).map(|host| host.to_string());
        for name in hosts.chain(["hub".to_owned()]) {
            let _ = run("ip", &format!("netns del {}-{name}", self.mark));
        }
    }
}
