//! Where the node keeps things, and `config.toml` in there. Flags go before the file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use caravan_egress::Upstream;
use caravan_node::{
    Config,
    keeping::{Amount, Idle, Marks},
};
use serde::Deserialize;

use crate::{
    cli::NodeRun,
    error::{CliError, Kind},
};

mod egress;
mod lend;
mod limits;
mod membership;
mod sandbox;
pub(crate) mod written;

pub(crate) use lend::LendFile;

/// Port for other nodes of a node that has joined a mesh.
pub(crate) const PORT_DEFAULT: u16 = 4100;

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    operator: Option<String>,
    slots: Option<u32>,
    listen: Option<Vec<String>>,
    peers: Option<Vec<String>>,
    mdns: Option<bool>,
    opam_repositories: Option<Vec<String>>,
    archive_mirrors: Option<Vec<String>>,
    bases: Option<Vec<String>>,
    store: Option<StoreFile>,
    egress: Option<egress::EgressFile>,
    lend: Option<LendFile>,
    limits: Option<limits::LimitsFile>,
    membership: Option<membership::MembershipFile>,
    sandbox: Option<sandbox::SandboxFile>,
}

/// The water marks of the store, and what of it becomes cold.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StoreFile {
    high: Option<String>,
    low: Option<String>,
    freeze_after: Option<String>,
}

impl StoreFile {
    fn marks(&self) -> Result<Marks, String> {
        let amount = |text: &Option<String>| text.as_deref().map(str::parse::<Amount>).transpose();
        let freeze_after = self.freeze_after.as_deref().map(str::parse::<Idle>);
        let freeze_after = freeze_after.transpose();
        let marks = Marks {
            high: amount(&self.high).map_err(|error| error.to_string())?,
            low: amount(&self.low).map_err(|error| error.to_string())?,
            freeze_after: freeze_after
                .map_err(|error| error.to_string())?
                .unwrap_or_default(),
        };
        match (marks.high, marks.low) {
            (None, Some(_)) => Err("[store] has `low` and no `high`".to_owned()),
            (Some(Amount::Bytes(high)), Some(Amount::Bytes(low))) if low > high => {
                Err("[store] has a `low` above its `high`".to_owned())
            }
            (Some(Amount::Percent(high)), Some(Amount::Percent(low))) if low > high => {
                Err("[store] has a `low` above its `high`".to_owned())
            }
            _ => Ok(marks),
        }
    }
}

/// The node's directory.
pub(crate) fn data(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    if let Some(data) = given {
        return std::path::absolute(&data)
            .map_err(|error| CliError::user(format!("use --data {}: {error}", data.display())));
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home {
        Some(home) if !caravan_node::is_root() => Ok(home.join(".local/share/caravan")),
        _ => Ok(PathBuf::from("/var/lib/caravan")),
    }
}

/// The configuration of the node in `data`, as the file and the flags say.
pub(crate) fn read(data: PathBuf, flags: &NodeRun) -> Result<Config, CliError> {
    let file = load(&data)?;
    configure(data, file, flags)
}

/// What the node in `data` gives to its mesh.
pub(crate) fn lent(data: &Path) -> Result<LendFile, CliError> {
    Ok(load(data)?.lend.unwrap_or_default())
}

/// Who runs the node in `data`, as its file says.
pub(crate) fn operator(data: &Path) -> Result<String, CliError> {
    let usual = || Config::new(data.to_owned()).operator;
    Ok(load(data)?.operator.unwrap_or_else(usual))
}

fn path(data: &Path) -> PathBuf {
    data.join("config.toml")
}

fn bad(data: &Path, text: &str) -> CliError {
    CliError::new(
        Kind::Config,
        format!("read {}: {text}", path(data).display()),
    )
}

fn load(data: &Path) -> Result<File, CliError> {
    match fs::read_to_string(path(data)) {
        Ok(text) => toml::from_str::<File>(&text).map_err(|error| bad(data, &error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => Err(bad(data, &error.to_string())),
    }
}

fn configure(data: PathBuf, file: File, flags: &NodeRun) -> Result<Config, CliError> {
    let mut config = Config::new(data);
    let file_or = |given: &Vec<String>, file: &Option<Vec<String>>| {
        if given.is_empty() {
            file.clone().unwrap_or_default()
        } else {
            given.clone()
        }
    };
    config.listen = match flags.port {
        Some(port) => every_interface(port),
        None => file_or(&flags.listen, &file.listen),
    };
    config.peers = file_or(&flags.peer, &file.peers);
    config.mdns = flags.mdns || file.mdns.unwrap_or(false);
    config.repositories = file_or(&flags.opam_repository, &file.opam_repositories);
    sections(&mut config, file, flags).map_err(|text| bad(&config.data, &text))?;
    config.upstream = Upstream::from_environment(|name| std::env::var(name).ok())
        .map_err(|error| CliError::new(Kind::Config, error.to_string()))?;
    if flags.http != "none" && !flags.http.is_empty() {
        let address = flags.http.parse().map_err(|_| {
            CliError::user(format!(
                "serve pages on {:?}: want ADDRESS:PORT or none",
                flags.http
            ))
        })?;
        config.http = Some(address);
    }
    for address in config.listen.iter().chain(&config.peers) {
        caravan_mesh::check_address(address)
            .map_err(|error| CliError::user(format!("use the address {address}: {error}")))?;
    }
    // A node that has joined a mesh is no use to it unless it can be reached or reaches out.
    if config.listen.is_empty() && config.data.join("joined").exists() {
        config.listen = every_interface(PORT_DEFAULT);
    }
    Ok(config)
}

/// The rest of the file, and the flags that go before it.
fn sections(config: &mut Config, file: File, flags: &NodeRun) -> Result<(), String> {
    if let Some(lend) = &file.lend {
        lend.apply(config)?;
    }
    if let Some(operator) = flags.operator.clone().or(file.operator) {
        config.operator = operator;
    }
    if let Some(slots) = flags.slots.or(file.slots) {
        config.slots = slots;
    }
    config.archive_mirrors = file.archive_mirrors.unwrap_or_default();
    if let Some(bases) = file.bases {
        config.bases = bases;
    }
    if let Some(store) = &file.store {
        let high = config.store.high;
        config.store = store.marks()?;
        config.store.high = config.store.high.or(high);
    }
    if let Some(limits) = &file.limits {
        limits.apply(config)?;
    }
    if let Some(membership) = &file.membership {
        membership.apply(config)?;
    }
    if let Some(sandbox) = &file.sandbox {
        sandbox.apply(config)?;
    }
    if let Some(egress) = file.egress {
        config.egress = egress.config()?;
    }
    Ok(())
}

/// As a file with this text would configure it.
#[cfg(test)]
pub(crate) fn parse_text(data: PathBuf, text: &str) -> Result<Config, CliError> {
    let file = toml::from_str(text).map_err(|error| bad(&data, &error.to_string()))?;
    configure(data, file, &NodeRun::default())
}

fn every_interface(port: u16) -> Vec<String> {
    caravan_mesh::Config::every_interface(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_file(text: &str) -> Result<Config, CliError> {
        let dir = tempfile::TempDir::new().expect("a directory");
        fs::write(dir.path().join("config.toml"), text).expect("write");
        read(dir.path().to_owned(), &NodeRun::default())
    }

    #[test]
    fn rules_for_the_network_of_steps_are_read_and_bad_ones_are_named() {
        let text = "[egress]\nallow = [\"*.example.org\"]\ndeny = [\"gitlab.com\"]\n\
                    private = [\"mirror.lan:3142\"]\nbytes = \"1GiB\"\n";
        let egress = read_file(text).expect("good").egress;
        assert_eq!((egress.bytes, egress.defaults), (1 << 30, true));
        assert_eq!(egress.private, ["mirror.lan:3142"]);
        let usual = read_file("").expect("nothing is said").egress;
        assert_eq!(usual, caravan_egress::Config::default());
        for (bad, named) in [
            ("allow = [\"https://a.org/\"]", "https://a.org/"),
            ("private = [\"*.lan\"]", "*.lan"),
            ("bytes = \"80%\"", "bytes"),
            ("bytes = \"lots\"", "lots"),
            ("alow = []", "alow"),
        ] {
            let refused = read_file(&format!("[egress]\n{bad}\n")).expect_err(bad);
            let said = format!("{refused:?}");
            assert!(
                said.contains(named) && said.contains("config.toml"),
                "{said}"
            );
        }
    }

    #[test]
    fn water_marks_are_read_and_bad_ones_are_named() {
        let marks = read_file("[store]\nhigh = \"80%\"\nlow = \"100GiB\"\n")
            .expect("good")
            .store;
        assert_eq!(marks.high, Some(Amount::Percent(80)));
        assert_eq!(marks.low, Some(Amount::Bytes(100 << 30)));
        assert_eq!(
            read_file("").expect("nothing is said").store,
            Marks::default()
        );
        let idle = |text: &str| read_file(text).map(|config| config.store.freeze_after);
        assert_eq!(
            idle("[store]\nfreeze_after = \"12h\"\n").ok(),
            Some(Idle::For(12 * 3600))
        );
        assert_eq!(
            idle("[store]\nfreeze_after = \"never\"\n").ok(),
            Some(Idle::Never)
        );
        for bad in [
            "[store]\nfreeze_after = \"soon\"",
            "[store]\nhigh = \"lots\"",
            "[store]\nlow = \"10%\"",
            "[store]\nhigh = \"10%\"\nlow = \"20%\"",
            "[store]\nmiddle = \"10%\"",
        ] {
            assert!(read_file(bad).is_err(), "{bad:?} was taken");
        }
    }
}
