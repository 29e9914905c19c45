//! Engines that a host brings as a C table of functions.
//!
//! A plug-in is a [`plimsoll_engine_table`](abi::plimsoll_engine_table) and a pointer of its own. [`Plugin::adopt`] checks and
//! copies the table, [`Plugin::describe`] asks what the engine is and what it will hold, and [`Plugin::load`], given leases for
//! that, makes an [`Engine`](plimsoll_engine::Engine) of it.
//!
//! ```text
//!   Engine::submit ── checks, price, payment ──► Desk ──► start        (the caller's thread; held back, a courier)
//!   Engine::reclaim ───────────────────────────► Desk ──► reclaim      (a courier)
//!   cancel flags, deadlines ── watch thread ───► Desk ──► cancel       (a courier)
//!   lease_grow, lease_shrink, emit_token, emit_end ──► Desk            (any thread of the plug-in)
//! ```
//!
//! # Invariants
//!
//! 1. Leases never leave this side. The desk holds them, and moves bytes between a request's purse, which was admitted,
//!    and its session, as the plug-in says; a plug-in that asks for more than was admitted is told so. Whatever a plug-in
//!    forgets to give back returns when it is gone.
//! 2. The plug-in names requests and sessions by number, so one that has ended is unknown and not a dangling pointer.
//! 3. No lock is held across a call into the plug-in. Submitting calls it on the submitting thread, so that one that blocks
//!    there holds up its own request alone; the rest goes through couriers, more of them when some are held up.
//! 4. What comes back is checked (`description.rs`, `price.rs`, `desk/`). Nonsense fails the request that it concerns.
//! 5. A request that its plug-in does not end within the grace after a cancel is ended for its reader; the bytes it may still
//!    use stay booked until the plug-in ends it, or is gone.

pub mod abi;
mod bring;
mod couriers;
mod description;
mod desk;
mod engine;
mod error;
mod host;
mod plug;
mod price;
mod request;
pub mod status;
mod table;
mod watch;

pub use description::Description;
pub use engine::{PluginEngine, Settings};
pub use error::PluginError;
pub use plug::Plugin;
