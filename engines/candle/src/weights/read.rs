//! From file to final layout: each shard opened once and read once, front to back, in bounded pieces.

use super::Loaded;
use super::plan::{Form, Item, WeightsPlan};
use super::quantize::Quantizer;
use crate::backend::Backend;
use crate::{LoadError, LoadState, Progress};
use plimsoll_engine::EngineError;
use plimsoll_formats::{Checkpoint, FileId, FormatError, ModelFile, Source, Text};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The most bytes of one read: bounds the time between two reports, at which the watcher may stop the load.
const PIECE: usize = 4 << 20;

/// The least bytes between two reports, so that a model of many small tensors does not drown its watcher.
const REPORT: u64 = 1 << 20;

/// Who is told of a load's progress, and may stop it.
pub(crate) struct Watch<'a> {
    watcher: &'a dyn Fn(Progress) -> ControlFlow<()>,
    progress: Cell<Progress>,
}

impl<'a> Watch<'a> {
    /// A watch over the load of this plan.
    pub(crate) fn new(watcher: &'a dyn Fn(Progress) -> ControlFlow<()>, plan: &WeightsPlan) -> Self {
        let (shards, bytes_total) = (plan.files().count(), plan.file_bytes());
        let progress = Progress { state: LoadState::Queued, shard: 0, shards, bytes_done: 0, bytes_total };
        Watch { watcher, progress: Cell::new(progress) }
    }

    /// Tells that the load has come to this state.
    ///
    /// # Errors
    /// [`LoadError::Cancelled`] when the watcher breaks.
    pub(crate) fn tell(&self, state: LoadState) -> Result<(), LoadError> {
        self.report(Progress { state, ..self.progress.get() })
    }

    /// Tells how the load ended.
    pub(crate) fn end<T>(&self, done: Result<T, LoadError>) -> Result<T, LoadError> {
        match &done {
            // Past the last step there is nothing to stop.
            Ok(_) => drop(self.tell(LoadState::Ready)),
            Err(_) => drop(self.tell(LoadState::Failed)),
        }
        done
    }

    fn report(&self, progress: Progress) -> Result<(), LoadError> {
        self.progress.set(progress);
        match (self.watcher)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(LoadError::Cancelled),
        }
    }
}

/// Reads every tensor of the plan into the backend's layout.
pub(super) fn read_all<B: Backend>(
    checkpoint: &Checkpoint,
    plan: &WeightsPlan,
    watch: &Watch<'_>,
) -> Result<BTreeMap<String, Loaded<B>>, LoadError> {
    let mut loaded = BTreeMap::new();
    let mut progress = Progress { state: LoadState::Reading, ..watch.progress.get() };
    for (shard, items) in plan.files().enumerate() {
        // Invariant of `chunk_by`: a chunk has at least one item.
        let Some(index) = items.first().map(|item| item.file) else { continue };
        let file = checkpoint.open_file(index)?;
        progress.shard = shard;
        watch.report(progress)?;
        let told = progress.bytes_done;
        let threads = plan.threads;
        let mut reader =
            Reader { file: &file, watch, threads, progress, told, offset: 0, left: 0, failure: None };
        for item in items {
            loaded.insert(item.name.clone(), reader.tensor::<B>(item)?);
        }
        progress = reader.progress;
        unchanged(&file)?;
    }
    progress.shard = progress.shards;
    watch.report(progress)?;
    Ok(loaded)
}

/// Refuses a file that was written to while it was read.
fn unchanged(file: &ModelFile) -> Result<(), LoadError> {
    let path = || Text::new(file.path().display());
    let meta = file.file().metadata().map_err(|source| FormatError::Io { path: path(), source })?;
    match FileId::of(&meta) == file.id() {
        true => Ok(()),
        false => Err(FormatError::Changed { path: path() }.into()),
    }
}

/// Hands out one tensor's bytes in file order.
struct Reader<'a> {
    file: &'a ModelFile,
    watch: &'a Watch<'a>,
    /// How many may quantise.
    threads: usize,
    progress: Progress,
    /// Bytes done at the last report.
    told: u64,
    offset: u64,
    left: u64,
    /// Why a fill failed, in full: a backend passes on only an [`EngineError`].
    failure: Option<LoadError>,
}

impl Reader<'_> {
    fn tensor<B: Backend>(&mut self, item: &Item) -> Result<Loaded<B>, LoadError> {
        (self.offset, self.left) = (item.offset, item.bytes);
        let threads = self.threads;
        let mut fill = |buffer: &mut [u8]| {
            self.fill(buffer).map_err(|error| {
                let text = error.to_string();
                self.failure = Some(error);
                EngineError::Execution(text)
            })
        };
        let loaded = match item.form {
            Form::Matrix { rows, cols } if item.stored == item.dtype => {
                B::load_matrix(item.dtype, rows, cols, &mut fill).map(Loaded::Matrix)
            }
            Form::Matrix { rows, cols } => {
                // The product is below the tensor's bytes, which were checked.
                let quantizer = Quantizer::new(&item.name, item.dtype, item.stored, rows * cols, threads);
                quantizer.and_then(|mut quantizer| {
                    let mut blocks = |out: &mut [u8]| quantizer.fill(out, &mut fill);
                    B::load_matrix(item.stored, rows, cols, &mut blocks).map(Loaded::Matrix)
                })
            }
            Form::Vector { len } => B::load_vector(item.dtype, len, &mut fill).map(Loaded::Vector),
        };
        let loaded = loaded.map_err(|error| self.failure.take().unwrap_or(LoadError::Engine(error)))?;
        match self.left {
            0 => Ok(loaded),
            left => {
                Err(EngineError::Execution(format!("{left} bytes of tensor {} were not read", item.name))
                    .into())
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), LoadError> {
        for piece in buffer.chunks_mut(PIECE) {
            let len = piece.len() as u64;
            let left = self.left.checked_sub(len);
            self.left =
                left.ok_or_else(|| EngineError::Execution("a read went past its tensor's end".into()))?;
            self.file.read_exact_at(self.offset, piece)?;
            // Inside the file, as every tensor was checked to be.
            self.offset += len;
            self.progress.bytes_done += len;
            if self.progress.bytes_done - self.told >= REPORT {
                self.told = self.progress.bytes_done;
                self.watch.report(self.progress)?;
            }
        }
        Ok(())
    }
}
