//! The statuses that cross between library and plug-in: those of the C ABI that have a use here.

/// Success.
pub const OK: i32 = 0;
/// A number is out of its range, or names a request or session that is not there.
pub const INVALID_ARGUMENT: i32 = 100;
/// A required pointer is NULL.
pub const NULL_POINTER: i32 = 101;
/// A struct_size is not set.
pub const INVALID_STRUCT_SIZE: i32 = 104;
/// A token id is not below the vocabulary's size.
pub const INVALID_TOKEN: i32 = 113;
/// More bytes than were admitted.
pub const MEMORY_REFUSED: i32 = 200;
/// The system refused memory that was leased.
pub const OUT_OF_MEMORY: i32 = 201;
/// The plug-in's queue is full.
pub const QUEUE_FULL: i32 = 202;
/// The answer to a reclaim comes later.
pub const BUSY: i32 = 203;
/// The engine is going.
pub const ENGINE_CLOSED: i32 = 306;
/// A fault of the library.
pub const INTERNAL: i32 = 900;

/// What `interrupted` answers, and how an answer ends.
pub const END_OF_TEXT: i32 = 1;
/// The granted tokens are used up.
pub const LENGTH: i32 = 2;
/// The request has ended already, or the engine is going.
pub const STOPPED: i32 = 4;
/// It was cancelled.
pub const CANCELLED: i32 = 5;
/// Its deadline passed.
pub const DEADLINE: i32 = 6;
