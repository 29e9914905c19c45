//! Which rows go through which expert, and with what weight.

use crate::backend::{ExpertSpec, StepSpec};
use plimsoll_engine::{EngineError, Region};

/// The choices of one layer, grouped by expert. All lists have their full size from the start, so that a step allocates
/// nothing.
#[derive(Debug)]
pub(crate) struct Routing {
    spec: ExpertSpec,
    /// Weights of the chosen experts are divided by their sum.
    normalise: bool,
    /// One row's probabilities, an expert each.
    probabilities: Vec<f32>,
    /// The experts of each row, `used` a row, and their weights.
    chosen: Vec<u32>,
    chosen_weights: Vec<f32>,
    /// Rows grouped by expert, in rising order within each, and their weights.
    rows: Vec<u32>,
    weights: Vec<f32>,
    /// Where each expert's group ends.
    ends: Vec<usize>,
}

/// The lengths of the lists: experts, choices of the largest step.
fn lengths(spec: &StepSpec) -> Option<(ExpertSpec, usize)> {
    let experts = spec.experts?;
    Some((experts, spec.max_rows.checked_mul(experts.used)?))
}

impl Routing {
    /// Heap bytes of the routing of a spec's largest step: 0 without experts; `None` on overflow.
    pub(crate) fn bytes(spec: &StepSpec) -> Option<u64> {
        if spec.experts.is_none() {
            return Some(0);
        }
        let (experts, choices) = lengths(spec)?;
        let per_expert = experts.count.checked_mul(size_of::<f32>() + size_of::<usize>())?;
        let per_choice = choices.checked_mul(2 * (size_of::<u32>() + size_of::<f32>()))?;
        u64::try_from(per_expert.checked_add(per_choice)?).ok()
    }

    /// The routing of a spec; `None` for one without experts.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub(crate) fn new(spec: &StepSpec, normalise: bool) -> Result<Option<Self>, EngineError> {
        if spec.experts.is_none() {
            return Ok(None);
        }
        let (experts, choices) = lengths(spec).ok_or(EngineError::PriceOverflow)?;
        Ok(Some(Routing {
            spec: experts,
            normalise,
            // The values are not zero, so that the pages are written.
            probabilities: filled(experts.count, -1.0)?,
            chosen: filled(choices, u32::MAX)?,
            chosen_weights: filled(choices, -1.0)?,
            rows: filled(choices, u32::MAX)?,
            weights: filled(choices, -1.0)?,
            ends: filled(experts.count, usize::MAX)?,
        }))
    }

    /// Heap bytes held.
    pub(crate) fn held(&self) -> u64 {
        let floats = self.probabilities.capacity() + self.chosen_weights.capacity() + self.weights.capacity();
        let ids = self.chosen.capacity() + self.rows.capacity();
        let bytes = floats * size_of::<f32>() + ids * size_of::<u32>();
        (bytes + self.ends.capacity() * size_of::<usize>()) as u64
    }

    /// Chooses the experts of `rows` rows from their scores, `[rows, experts]`: a softmax over all of them, then the
    /// heaviest, the first among equals. Scores that are no numbers give weights that are none.
    ///
    /// # Errors
    /// [`EngineError::Execution`] when there are more rows than were planned.
    pub(crate) fn choose(&mut self, scores: &[f32], rows: usize) -> Result<(), EngineError> {
        let ExpertSpec { count, used } = self.spec;
        if scores.len() != rows * count || rows * used > self.chosen.len() {
            return Err(EngineError::Execution(format!("{rows} rows cannot be routed")));
        }
        let choices = self.chosen.chunks_exact_mut(used).zip(self.chosen_weights.chunks_exact_mut(used));
        for (scores, (chosen, weights)) in scores.chunks_exact(count).zip(choices) {
            pick(scores, &mut self.probabilities, chosen, weights);
            if self.normalise {
                let sum: f32 = weights.iter().sum();
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
        }
        self.group(rows * used);
        Ok(())
    }

    /// Sorts the first `choices` by expert.
    fn group(&mut self, choices: usize) {
        self.ends.fill(0);
        for expert in &self.chosen[..choices] {
            self.ends[*expert as usize] += 1;
        }
        // Starts first; they become ends while the groups fill.
        let mut start = 0;
        for end in &mut self.ends {
            start += std::mem::replace(end, start);
        }
        for (choice, expert) in self.chosen[..choices].iter().enumerate() {
            let at = self.ends[*expert as usize];
            self.rows[at] = (choice / self.spec.used) as u32;
            self.weights[at] = self.chosen_weights[choice];
            self.ends[*expert as usize] += 1;
        }
    }

    /// The rows that chose this expert, and its weight in each.
    pub(crate) fn expert(&self, expert: usize) -> (&[u32], &[f32]) {
        let Some(end) = self.ends.get(expert).copied() else { return (&[], &[]) };
        let start = expert.checked_sub(1).map_or(0, |before| self.ends[before]);
        (&self.rows[start..end], &self.weights[start..end])
    }

    /// Every row, weighted by the sigmoid of its score: the expert that all share. The groups are gone.
    ///
    /// # Errors
    /// [`EngineError::Execution`] when there are more rows than were planned.
    pub(crate) fn share(&mut self, scores: &[f32]) -> Result<(&[u32], &[f32]), EngineError> {
        let rows = scores.len();
        if rows > self.rows.len() {
            return Err(EngineError::Execution(format!("{rows} rows cannot share an expert")));
        }
        self.ends.fill(0);
        for (row, score) in scores.iter().enumerate() {
            self.rows[row] = row as u32;
            self.weights[row] = 1.0 / (1.0 + (-score).exp());
        }
        Ok((&self.rows[..rows], &self.weights[..rows]))
    }
}

/// The heaviest experts of one row and their probabilities.
fn pick(scores: &[f32], probabilities: &mut [f32], chosen: &mut [u32], weights: &mut [f32]) {
    let most = scores.iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    let mut sum = 0.0;
    for (probability, score) in probabilities.iter_mut().zip(scores) {
        *probability = (score - most).exp();
        sum += *probability;
    }
    for (place, (chosen, weight)) in chosen.iter_mut().zip(weights).enumerate() {
        if !sum.is_finite() {
            (*chosen, *weight) = (place as u32, f32::NAN);
            continue;
        }
        let mut best = (0, f32::NEG_INFINITY);
        for (expert, probability) in probabilities.iter().enumerate() {
            if *probability > best.1 {
                best = (expert, *probability);
            }
        }
        (*chosen, *weight) = (best.0 as u32, best.1 / sum);
        // Taken: below every probability.
        probabilities[best.0] = f32::NEG_INFINITY;
    }
}

/// A list of `len` values with no room beyond.
fn filled<T: Copy>(len: usize, value: T) -> Result<Vec<T>, EngineError> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| EngineError::OutOfMemory { region: Region::Host, bytes })?;
    list.resize(len, value);
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::tests::spec;

    fn routing(count: usize, used: usize, normalise: bool) -> Routing {
        let spec = StepSpec { experts: Some(ExpertSpec { count, used }), max_rows: 3, ..spec() };
        let routing = Routing::new(&spec, normalise).unwrap().unwrap();
        assert_eq!(Some(routing.held()), Routing::bytes(&spec));
        routing
    }

    #[test]
    fn rows_go_to_their_heaviest_experts() {
        let mut routing = routing(4, 2, false);
        let scores = [0.0, 2.0, 1.0, 0.0, 3.0, 3.0, 3.0, 3.0, -1.0, -9.0, -8.0, -1.5];
        routing.choose(&scores, 3).unwrap();
        let rows: Vec<&[u32]> = (0..4).map(|expert| routing.expert(expert).0).collect();
        assert_eq!(rows, [&[1, 2][..], &[0, 1], &[0], &[2]]);
        let (e1, e2) = (2f32.exp(), 1f32.exp());
        let sum = 2.0 + e1 + e2;
        let close = |found: f32, wanted: f32| assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
        close(routing.expert(1).1[0], e1 / sum);
        close(routing.expert(2).1[0], e2 / sum);
        close(routing.expert(0).1[0], 0.25);
        // Fewer rows than before leave nothing behind.
        routing.choose(&scores[..4], 1).unwrap();
        assert_eq!(routing.expert(0).0, [0u32; 0]);
        assert!(routing.choose(&[0.0; 16], 4).is_err());
    }

    #[test]
    fn weights_are_normalised_where_the_model_says_so() {
        let mut routing = routing(3, 2, true);
        routing.choose(&[1.0, 0.0, 2.0], 1).unwrap();
        let weights = [routing.expert(2).1[0], routing.expert(0).1[0]];
        assert!((weights[0] + weights[1] - 1.0).abs() < 1e-6);
        assert!((weights[0] / weights[1] - 1f32.exp()).abs() < 1e-5);
    }

    #[test]
    fn no_numbers_stay_no_numbers() {
        let mut routing = routing(3, 2, true);
        routing.choose(&[f32::NAN, 0.0, 1.0], 1).unwrap();
        assert!(routing.expert(0).1[0].is_nan());
        routing.choose(&[f32::INFINITY, 0.0, 1.0], 1).unwrap();
        assert!(routing.expert(0).1[0].is_nan());
    }

    #[test]
    fn the_shared_expert_sees_every_row() {
        let mut routing = routing(4, 1, false);
        let (rows, weights) = routing.share(&[0.0, 100.0, -100.0]).unwrap();
        assert_eq!(rows, [0, 1, 2]);
        assert_eq!((weights[0], weights[1]), (0.5, 1.0));
        assert!(weights[2] < 1e-30);
        assert!(routing.share(&[0.0; 4]).is_err());
    }
}
