//! Rotary positions in GGUF metadata.

use crate::Result;
use crate::config::{Family, MAX_CONTEXT, Rope, RopeScaling};
use crate::gguf::keys::Keys;

/// The rotary base where a file has no key for it.
const THETA: f64 = 10_000.0;

/// How a model's heads turn. `present` says whether the file has a tensor; `context` is the context length in tokens.
pub(super) fn read(keys: &Keys<'_>, present: impl Fn(&str) -> bool, context: usize) -> Result<Rope> {
    let theta = keys.float("rope.freq_base")?.unwrap_or(THETA);
    let [by_list, short, long] =
        [RopeScaling::FACTORS, RopeScaling::SHORT_FACTORS, RopeScaling::LONG_FACTORS].map(present);
    let kind = keys.text("rope.scaling.type")?;
    // The second is the spelling before there were kinds.
    let factor = keys.float("rope.scaling.factor")?.or(keys.float("rope.scale_linear")?);
    let scaling = match kind {
        None if short || long => self_described(keys, short && long, context)?,
        Some("longrope") => self_described(keys, short && long, context)?,
        Some("none") => RopeScaling::None,
        // A file with a factor and no kind means the first kind there was.
        None | Some("linear") => match factor.filter(|factor| *factor != 1.0) {
            Some(factor) => RopeScaling::Linear { factor },
            None => RopeScaling::None,
        },
        Some("yarn") => yarn(keys, factor.ok_or_else(|| keys.absent("rope.scaling.factor"))?, context)?,
        Some(other) => return keys.unsupported(format_args!("rotary scaling of type {other:?}")),
    };
    match (by_list, scaling) {
        (true, RopeScaling::None) => Ok(Rope { theta, scaling: RopeScaling::Factors }),
        (true, _) => keys.unsupported(format_args!("{} and another rotary scaling", RopeScaling::FACTORS)),
        (false, scaling) => Ok(Rope { theta, scaling }),
    }
}

/// The positions of the layers with a window, where the family has a base of its own for them.
pub(super) fn of_windows(keys: &Keys<'_>, family: &Family) -> Result<Option<Rope>> {
    let Some(theta) = family.window_theta else { return Ok(None) };
    let theta = keys.float("rope.freq_base_swa")?.unwrap_or(theta);
    Ok(Some(Rope { theta, scaling: RopeScaling::None }))
}

/// How many dimensions of a head turn.
pub(super) fn rotary_dim(keys: &Keys<'_>, family: &Family, head_dim: usize) -> Result<usize> {
    match keys.size("rope.dimension_count")? {
        Some(turned) if turned > head_dim => {
            keys.malformed(format_args!("{turned} dimensions of a head of {head_dim} are to rotate"))
        }
        Some(turned) if turned < head_dim && !family.partial_rotary => {
            keys.unsupported(format_args!("partial rotary positions ({turned} of {head_dim} dimensions)"))
        }
        Some(turned) => Ok(turned),
        None => Ok(head_dim),
    }
}

/// The context the model was first trained on.
fn original(keys: &Keys<'_>, context: usize) -> Result<u32> {
    let context = keys.size("rope.scaling.original_context_length")?.unwrap_or(context);
    // Beyond the range that is checked later, if it does not fit.
    Ok(u32::try_from(context).unwrap_or(MAX_CONTEXT as u32 + 1))
}

/// Two lists of divisors, which are tensors of the file.
fn self_described(keys: &Keys<'_>, both: bool, context: usize) -> Result<RopeScaling> {
    if !both {
        let (short, long) = (RopeScaling::SHORT_FACTORS, RopeScaling::LONG_FACTORS);
        return keys.malformed(format_args!("longrope needs both {short} and {long}"));
    }
    Ok(RopeScaling::LongFactors {
        original_context: original(keys, context)?,
        attention_factor: keys.float("rope.scaling.attn_factor")?.unwrap_or(1.0),
    })
}

fn yarn(keys: &Keys<'_>, factor: f64, context: usize) -> Result<RopeScaling> {
    if let Some(mix) = keys.float("rope.scaling.yarn_ext_factor")?.filter(|mix| *mix != 1.0) {
        return keys.unsupported(format_args!("yarn mixed in by {mix}"));
    }
    let mscale = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let all = keys.float("rope.scaling.yarn_log_multiplier")?.filter(|all| *all != 0.0);
    let attention_factor = match (keys.float("rope.scaling.yarn_attn_factor")?, all) {
        (Some(given), _) => given,
        (None, Some(all)) => mscale(1.0) / mscale(all),
        (None, None) => mscale(1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        original_context: original(keys, context)?,
        beta_fast: keys.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        beta_slow: keys.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        attention_factor: attention_factor * keys.float("rope.scaling.attn_factor")?.unwrap_or(1.0),
        truncate: true,
    })
}
