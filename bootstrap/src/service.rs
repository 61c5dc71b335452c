//! The node as a service of systemd: the text of its unit, and the few calls that install and remove
//! it. Root's node is a service of the system, anybody else's one of that user. Nothing is touched
//! that does not carry our mark and the node's directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use caravan_node::Rights;

use crate::error::{CliError, Kind};

mod unit;

pub(crate) use unit::{Unit, Whose};

/// There while systemd runs the system.
const SYSTEMD: &str = "/run/systemd/system";

/// Whose service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The system's.
    System,
    /// This user's.
    User,
}

impl Scope {
    /// The one that this program's user may use.
    pub(crate) fn own() -> Self {
        match Rights::own() {
            Rights::Root | Rights::Contained => Self::System,
            // Inside its namespace, too, it is a user's.
            Rights::Rootless | Rights::User(_) => Self::User,
        }
    }

    /// Where units of people's making are.
    fn directory(self) -> Result<PathBuf, CliError> {
        if self == Self::System {
            return Ok(PathBuf::from("/etc/systemd/system"));
        }
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.filter(|path| path.is_absolute());
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
        config
            .or_else(home)
            .map(|config| config.join("systemd/user"))
            .ok_or_else(|| {
                CliError::user("find the directory of this user's units: HOME is not set")
            })
    }

    fn systemctl(self, words: &[&str]) -> Result<(), CliError> {
        let mut command = Command::new("systemctl");
        if self == Self::User {
            command.arg("--user");
        }
        let asked = format!("systemctl {}", words.join(" "));
        let done = command
            .arg("--quiet")
            .args(words)
            .output()
            .map_err(|error| CliError::new(Kind::Node, format!("run `{asked}`: {error}")))?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let said = said
            .trim()
            .lines()
            .next()
            .unwrap_or("it says nothing")
            .to_owned();
        Err(CliError::new(Kind::Node, format!("run `{asked}`: {said}")))
    }
}

/// Why this host cannot run the node as a service, if it cannot.
pub(crate) fn obstacle() -> Option<String> {
    if !Path::new(SYSTEMD).is_dir() {
        return Some(format!(
            "this host is not run by systemd ({SYSTEMD} is not there)"
        ));
    }
    if Scope::own() == Scope::User && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        return Some(
            "this user has no session of systemd here (XDG_RUNTIME_DIR is not set); log in anew, not \
             by su or sudo"
                .to_owned(),
        );
    }
    None
}

/// Writes the unit, has systemd read it, and starts the node now and at each boot.
pub(crate) fn install(unit: &Unit) -> Result<PathBuf, CliError> {
    if let Some(why) = obstacle() {
        return Err(CliError::user(format!("install a service: {why}"))
            .hint(format!("start the node yourself: {}", unit.command()))
            .hint("or have your own supervisor do it; `--service=print` shows what it needs"));
    }
    let directory = unit.scope.directory()?;
    let path = directory.join(unit.name());
    let trouble = |error: io::Error| CliError::user(format!("write {}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) if unit.whose(&text) != Whose::Ours => {
            let text = format!(
                "write {}: there is such a unit already, and it is not of this node",
                path.display()
            );
            return Err(
                CliError::user(text).hint("move it away, or give the node another directory")
            );
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(trouble(error)),
    }
    fs::create_dir_all(&directory).map_err(trouble)?;
    let partial = path.with_extension("partial");
    fs::write(&partial, unit.text()?)
        .and_then(|()| fs::rename(&partial, &path))
        .map_err(trouble)?;
    unit.scope.systemctl(&["daemon-reload"])?;
    let name = unit.name();
    let started = unit.scope.systemctl(&["enable", "--now", &name]);
    started.map_err(|error| error.hint(format!("what the node said: {}", unit.journal())))?;
    Ok(path)
}

/// Stops the node's service and removes its unit, if there is one; which it was.
pub(crate) fn remove(unit: &Unit) -> Result<Option<PathBuf>, CliError> {
    let Some(path) = installed(unit)? else {
        return Ok(None);
    };
    let name = unit.name();
    if obstacle().is_none() {
        unit.scope.systemctl(&["disable", "--now", &name])?;
    }
    fs::remove_file(&path)
        .map_err(|error| CliError::user(format!("remove {}: {error}", path.display())))?;
    if obstacle().is_none() {
        unit.scope.systemctl(&["daemon-reload"])?;
        // It may have failed before, and would be listed as such for ever.
        let _ = unit.scope.systemctl(&["reset-failed", &name]);
    } else {
        // What `enable` has made.
        let wanted = unit.scope.directory()?.join(unit.wanted_by()).join(&name);
        let _ = fs::remove_file(wanted);
    }
    Ok(Some(path))
}

/// Where the node's unit is, if it has one. One that may be its, but cannot be told for certain, is an
/// error: it would start a node that is gone again and again.
pub(crate) fn installed(unit: &Unit) -> Result<Option<PathBuf>, CliError> {
    match unit.scope.directory() {
        Ok(directory) => installed_in(&directory, unit),
        Err(_) => Ok(None),
    }
}

fn installed_in(directory: &Path, unit: &Unit) -> Result<Option<PathBuf>, CliError> {
    let path = directory.join(unit.name());
    let shown = path.display();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Ok(None),
            _ => {
                let text = format!("read {shown}, which may be this node's unit: {error}");
                return Err(CliError::user(text).hint("mend it or move it away, then try again"));
            }
        },
    };
    match unit.whose(&text) {
        Whose::Ours => return Ok(Some(path)),
        Whose::Another => return Ok(None),
        Whose::Edited => {}
    }
    let user = match unit.scope {
        Scope::System => "",
        Scope::User => "--user ",
    };
    let text = format!("use {shown}: its first lines, which tell whose unit it is, were changed");
    Err(CliError::user(text)
        .hint(format!(
            "if it is this node's: systemctl {user}disable --now {}, remove the file, then try again",
            unit.name()
        ))
        .hint("else move it away, then try again"))
}

/// Tells the service manager that started this program, if one did, how far it is.
pub(crate) fn tell(state: &str) {
    use std::os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    };
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    let told = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        eprintln!("caravan: the service manager does not hear this node: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_cannot_be_told_is_an_error_and_none_is_none() {
        let unit = Unit {
            scope: Scope::System,
            program: "/usr/bin/caravan".into(),
            data: "/srv/a".into(),
            cores: None,
            memory: None,
        };
        let dir = tempfile::tempdir().expect("writable");
        let path = dir.path().join(unit.name());
        let found = || installed_in(dir.path(), &unit);
        assert_eq!(found().expect("nothing is there"), None);
        let text = unit.text().expect("a plain path");
        fs::write(&path, &text).expect("writable");
        assert_eq!(found().expect("as written"), Some(path.clone()));
        fs::write(&path, "[Service]\nExecStart=/bin/true\n").expect("writable");
        assert_eq!(found().expect("another program's"), None);
        let (_, edited) = text.split_once('\n').expect("lines");
        fs::write(&path, edited).expect("writable");
        let said = format!("{:?}", found().expect_err("edited"));
        assert!(said.contains("disable --now caravan-srv-a"), "{said}");
        fs::write(&path, b"\xff\xfe").expect("writable");
        let said = format!("{:?}", found().expect_err("unreadable"));
        assert!(said.contains("move it away"), "{said}");
    }
}
