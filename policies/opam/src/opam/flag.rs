//! Package flags.

/// A flag of a package.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// `avoid-version`: only where nothing else will do.
    AvoidVersion,
    /// `deprecated`: likewise, with a word to the user.
    Deprecated,
    /// `compiler`: may be the base of a switch.
    Compiler,
    /// `conf`: asks for something of the system and has no source.
    Conf,
    /// `plugin`: adds a command to opam.
    Plugin,
    /// `light-uninstall`: needs no source to be removed.
    LightUninstall,
    /// `verbose`: shows the output of its commands.
    Verbose,
    /// Any other word.
    Other(Box<str>),
}

impl Flag {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "avoid-version" => Self::AvoidVersion,
            "deprecated" => Self::Deprecated,
            "compiler" => Self::Compiler,
            "conf" => Self::Conf,
            "plugin" => Self::Plugin,
            "light-uninstall" => Self::LightUninstall,
            "verbose" => Self::Verbose,
            other => Self::Other(other.into()),
        }
    }

    /// Whether a build could differ with and without the flag. The others speak to the solver, to
    /// the user or to removal; unknown ones are taken to matter.
    pub(super) fn changes_build(&self) -> bool {
        matches!(
            self,
            Self::Compiler | Self::Conf | Self::Plugin | Self::Other(_)
        )
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::AvoidVersion => "avoid-version",
            Self::Deprecated => "deprecated",
            Self::Compiler => "compiler",
            Self::Conf => "conf",
            Self::Plugin => "plugin",
            Self::LightUninstall => "light-uninstall",
            Self::Verbose => "verbose",
            Self::Other(name) => name,
        }
    }
}
