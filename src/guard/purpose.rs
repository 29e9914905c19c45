//! What bytes are for.

use plimsoll_engine::Owner;

/// What bytes are for: an [`Owner`] without its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Of [`Owner::Weights`].
    Weights,
    /// Of [`Owner::Workspace`].
    Workspace,
    /// Of [`Owner::Kv`].
    Kv,
    /// Of [`Owner::Request`].
    Request,
    /// Of [`Owner::Text`].
    Text,
    /// Of [`Owner::Tables`].
    Tables,
    /// Of [`Owner::Pool`].
    Pool,
}

impl Purpose {
    /// Every purpose, in the order of their discriminants.
    pub const ALL: [Purpose; 7] = [
        Purpose::Weights,
        Purpose::Workspace,
        Purpose::Kv,
        Purpose::Request,
        Purpose::Text,
        Purpose::Tables,
        Purpose::Pool,
    ];

    /// What an owner's bytes are for.
    pub fn of(owner: Owner) -> Purpose {
        match owner {
            Owner::Weights(_) => Purpose::Weights,
            Owner::Workspace(_) => Purpose::Workspace,
            Owner::Kv(_) => Purpose::Kv,
            Owner::Request(_) => Purpose::Request,
            Owner::Text(_) => Purpose::Text,
            Owner::Tables(_) => Purpose::Tables,
            Owner::Pool => Purpose::Pool,
        }
    }

    /// A short name, for statistics.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Weights => "weights",
            Purpose::Workspace => "workspace",
            Purpose::Kv => "kv",
            Purpose::Request => "request",
            Purpose::Text => "text",
            Purpose::Tables => "tables",
            Purpose::Pool => "pool",
        }
    }
}
