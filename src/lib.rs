//! An embeddable LLM runtime that never runs out of memory.

pub mod text;
