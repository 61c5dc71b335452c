//! The text of a node's unit.
//!
//! What is *not* in it is as deliberate as what is. A filter of system calls, a ban on namespaces or
//! an overmounted /proc would reach the jobs, which have defences of their own that need all three:
//! the kernel lets nobody mount a fresh /proc who sees only parts of one.

use std::path::{Path, PathBuf};

use super::Scope;
use crate::error::CliError;

/// First line of every unit of ours.
const MARK: &str = "# Written by `caravan`; `caravan node leave` removes it.";
/// How the line begins that tells the node's directory.
const ABOUT: &str = "# The node of ";
/// What the node itself uses beside its jobs.
const OWN_MEMORY: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Where root's node is if nothing else is said: the one whose unit has the plain name.
const SYSTEM_DATA: &str = "/var/lib/caravan";
const USER_DATA: &str = ".local/share/caravan";

/// Whose a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This node's, as it was written.
    Ours,
    /// Perhaps this node's, but it does not say so any more.
    Edited,
    /// Of another node, or of another program.
    Another,
}

/// What a unit is made of.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) scope: Scope,
    /// The program.
    pub(crate) program: PathBuf,
    /// The node's directory.
    pub(crate) data: PathBuf,
    /// Cores that the node and its jobs get.
    pub(crate) cores: Option<u32>,
    /// Memory that the jobs get, bytes.
    pub(crate) memory: Option<u64>,
}

impl Unit {
    /// The unit of the node in `data`, run by this program.
    pub(crate) fn of(data: &Path) -> Result<Self, CliError> {
        let program = std::env::current_exe()
            .map_err(|error| CliError::user(format!("find this program's own path: {error}")))?;
        let lent = crate::config::lent(data)?;
        let memory = lent.memory_bytes().map_err(CliError::user)?;
        Ok(Self {
            scope: Scope::own(),
            program,
            data: data.to_owned(),
            cores: lent.cores,
            memory,
        })
    }

    /// The same where nothing is known of what is lent.
    pub(crate) fn bare(data: &Path) -> Self {
        Self {
            scope: Scope::own(),
            program: PathBuf::new(),
            data: data.to_owned(),
            cores: None,
            memory: None,
        }
    }

    /// `caravan.service`, or for another directory than the usual one `caravan-` with its name.
    pub(crate) fn name(&self) -> String {
        let is_usual = match self.scope {
            Scope::System => self.data == Path::new(SYSTEM_DATA),
            Scope::User => self.data.ends_with(USER_DATA),
        };
        if is_usual {
            return "caravan.service".to_owned();
        }
        let tail: String = self
            .data
            .display()
            .to_string()
            .trim_matches('/')
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        // A name is 255 bytes at most; the directory is in the text for certainty.
        let skip = tail.len().saturating_sub(100);
        format!("caravan-{}.service", &tail[skip..])
    }

    /// The target that starts it.
    pub(crate) const fn wanted_by(&self) -> &'static str {
        match self.scope {
            Scope::System => "multi-user.target.wants",
            Scope::User => "default.target.wants",
        }
    }

    /// Whose a unit of this node's name is, by its text.
    pub(crate) fn whose(&self, text: &str) -> Whose {
        let mut about = text.lines().filter(|line| line.starts_with(ABOUT));
        if about.any(|line| line == self.about()) {
            return match text.starts_with(MARK) {
                true => Whose::Ours,
                false => Whose::Edited,
            };
        }
        let is_of_another = text.lines().any(|line| line.starts_with(ABOUT));
        let runs = |line: &str| line.starts_with("ExecStart") && line.contains("node run");
        if !is_of_another && (text.contains(MARK) || text.lines().any(runs)) {
            return Whose::Edited;
        }
        Whose::Another
    }

    fn about(&self) -> String {
        format!("{ABOUT}{}", self.data.display())
    }

    /// How to start the node by hand.
    pub(crate) fn command(&self) -> String {
        format!(
            "caravan --data {} node run",
            shell(&self.data.display().to_string())
        )
    }

    /// How to read what it says.
    pub(crate) fn journal(&self) -> String {
        let user = if self.scope == Scope::User {
            "--user "
        } else {
            ""
        };
        format!("journalctl {user}-u {}", self.name())
    }

    /// The text.
    pub(crate) fn text(&self) -> Result<String, CliError> {
        let program = program(&self.program)?;
        let data = quoted(&self.data)?;
        let mut text = format!(
            "{MARK}\n{}\n\n[Unit]\nDescription=Caravan build node\n\
             Wants=network-online.target\nAfter=network-online.target\n\
             StartLimitIntervalSec=0\n\n[Service]\nType=notify\nNotifyAccess=all\n\
             ExecStart={program} --data {data} node run\n",
            self.about(),
        );
        text.push_str(LIFE);
        if let Some(cores) = self.cores {
            text.push_str(&format!("CPUQuota={}%\n", u64::from(cores) * 100));
        }
        if let Some(memory) = self.memory {
            let most = memory.saturating_add(OWN_MEMORY) / MIB;
            text.push_str(&format!("MemoryMax={most}M\n"));
        }
        if self.scope == Scope::System {
            text.push_str(HARD);
            let homes = ["/home", "/root", "/run/user"];
            if !homes.iter().any(|home| self.data.starts_with(home)) {
                text.push_str("ProtectHome=read-only\n");
            }
        }
        let target = self.wanted_by().trim_end_matches(".wants");
        text.push_str(&format!("\n[Install]\nWantedBy={target}\n"));
        Ok(text)
    }
}

/// How long it lives, and what it gets of the machine: less than the machine's own work.
const LIFE: &str = "Restart=on-failure
RestartSec=10
# What its operator has to mend is not mended by trying again.
RestartPreventExitStatus=4
# Jobs end with the node; it takes a moment to give them up in order.
KillMode=mixed
TimeoutStopSec=60
# A job that uses up its memory dies; the node does not.
OOMPolicy=continue
# The node makes control groups for its jobs below its own.
Delegate=yes
TasksMax=infinity
LimitNOFILE=524288
LimitCORE=0
UMask=0077
CPUWeight=20
IOWeight=20
";

/// What root's node never needs.
const HARD: &str = "NoNewPrivileges=yes
ProtectSystem=full
ProtectHostname=yes
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_RAWIO CAP_SYSLOG
CapabilityBoundingSet=~CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_WAKE_ALARM CAP_BLOCK_SUSPEND
CapabilityBoundingSet=~CAP_SYS_TTY_CONFIG CAP_LINUX_IMMUTABLE CAP_AUDIT_CONTROL CAP_AUDIT_READ
";

/// The program as systemd reads it. It puts variables into all words but this one, in which nothing
/// makes a plain `$` of a `$`.
fn program(path: &Path) -> Result<String, CliError> {
    let text = quoted(path)?;
    if !text.contains('$') {
        return Ok(text);
    }
    Err(CliError::user(format!(
        "write a unit for the program {}: systemd cannot start one with `$` in its path",
        path.display()
    ))
    .hint("move the program, /usr/local/bin is a good place, and run it from there"))
}

/// A path as systemd reads it.
fn quoted(path: &Path) -> Result<String, CliError> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(['\n', '\r', '\0']));
    let text = text.ok_or_else(|| {
        CliError::user(format!(
            "write a unit for {}: systemd cannot read such a path",
            path.display()
        ))
    })?;
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' => quoted.push_str("%%"),
            '$' => quoted.push_str("$$"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

/// A word as a shell reads it.
pub(crate) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(data: &str) -> Unit {
        Unit {
            scope: Scope::System,
            program: "/usr/bin/caravan".into(),
            data: data.into(),
            cores: Some(3),
            memory: Some(12 << 30),
        }
    }

    #[test]
    fn the_units_of_two_directories_have_two_names() {
        assert_eq!(unit("/var/lib/caravan").name(), "caravan.service");
        assert_eq!(
            unit("/srv/other node").name(),
            "caravan-srv-other-node.service"
        );
        let (one, other) = (unit("/srv/a b"), unit("/srv/a-b"));
        assert_eq!(one.name(), other.name());
        let text = one.text().expect("a plain path");
        assert_eq!(one.whose(&text), Whose::Ours);
        assert_eq!(other.whose(&text), Whose::Another);
        assert_eq!(one.whose("[Unit]\nExecStart=/bin/true\n"), Whose::Another);
    }

    #[test]
    fn a_unit_that_somebody_has_edited_is_not_taken_for_another_s() {
        let unit = unit("/srv/a");
        let text = unit.text().expect("a plain path");
        let without = |part: &str| {
            let kept = text.lines().filter(|line| !line.starts_with(part));
            kept.collect::<Vec<_>>().join("\n")
        };
        let bare = without("#");
        assert!(bare.contains("ExecStart="));
        for edited in [without(MARK), without(ABOUT), bare, format!("\n{text}")] {
            assert_eq!(unit.whose(&edited), Whose::Edited, "{edited}");
        }
        let lent = text.replace("CPUQuota=300%", "CPUQuota=100%");
        assert_eq!(unit.whose(&lent), Whose::Ours);
    }

    #[test]
    fn what_is_lent_bounds_the_service() {
        let text = unit("/var/lib/caravan").text().expect("a plain path");
        for line in [
            "ExecStart=\"/usr/bin/caravan\" --data \"/var/lib/caravan\" node run",
            "CPUQuota=300%",
            "MemoryMax=13312M",
            "OOMPolicy=continue",
            "ProtectHome=read-only",
            "WantedBy=multi-user.target",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let mut own = unit("/home/ann/.local/share/caravan");
        own.scope = Scope::User;
        let text = own.text().expect("a plain path");
        assert!(text.contains("WantedBy=default.target") && !text.contains("NoNewPrivileges"));
        assert_eq!(own.name(), "caravan.service");
    }

    #[test]
    fn no_path_can_say_more_than_a_path() {
        let text = unit("/srv/%h $HOME \"x\\")
            .text()
            .expect("strange and legal");
        assert!(
            text.contains("--data \"/srv/%%h $$HOME \\\"x\\\\\" node run"),
            "{text}"
        );
        assert!(unit("/srv/a\nExecStartPre=/bin/false").text().is_err());
        let mut strange = unit("/srv/a");
        strange.program = "/opt/$x/caravan".into();
        let refused = strange.text().expect_err("systemd would look for another");
        assert!(format!("{refused:?}").contains("/opt/$x/caravan"));
        assert_eq!(shell("/srv/it's"), "'/srv/it'\\''s'");
        assert_eq!(shell("/var/lib/caravan"), "/var/lib/caravan");
    }
}
