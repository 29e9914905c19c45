//! `tokenizer_config.json`: the begin and end tokens' texts and the chat template.

use crate::json::{Fields, Json};
use crate::{ChatTemplate, FormatError, Result};

const FILE: &str = "tokenizer_config.json";
const WANTED: &[&str] = &["bos_token", "eos_token", "chat_template", "content", "name", "template"];

/// The largest chat template, in bytes.
pub(super) const MAX_TEMPLATE: u64 = 4 << 20;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// The text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// The text of the token that ends one.
    pub eos_token: Option<String>,
    /// The chat template's Jinja source.
    pub chat_template: Option<String>,
    /// The source of the template for chats with tools.
    pub tool_use: Option<String>,
}

impl TokenizerConfig {
    /// The templates with their texts; `file` and `tool_use` are the folder's own template files, which go before those
    /// in here. A template for tools alone serves for all.
    pub(super) fn into_template(
        self,
        file: Option<String>,
        tool_use: Option<String>,
    ) -> Option<ChatTemplate> {
        let tool_use = tool_use.or(self.tool_use);
        let source = file.or(self.chat_template).or_else(|| tool_use.clone())?;
        Some(ChatTemplate { source, tool_use, bos_token: self.bos_token, eos_token: self.eos_token })
    }
}

/// Reads the bytes of a `tokenizer_config.json`. Of several named templates those named `default` and `tool_use` count.
///
/// # Errors
/// When it is no JSON object, or a key is of the wrong type, or a template is larger than 4 MiB.
pub fn parse(bytes: &[u8]) -> Result<TokenizerConfig> {
    let fields = Fields::parse(FILE, bytes, WANTED)?;
    let (chat_template, tool_use) = templates(&fields)?;
    let longest = chat_template.iter().chain(&tool_use).map(|text| text.len() as u64).max();
    if let Some(len) = longest.filter(|len| *len > MAX_TEMPLATE) {
        return Err(FormatError::too_large(FILE, "the chat template in bytes", len, MAX_TEMPLATE));
    }
    Ok(TokenizerConfig {
        bos_token: token(&fields, "bos_token")?.map(str::to_owned),
        eos_token: token(&fields, "eos_token")?.map(str::to_owned),
        chat_template: chat_template.map(str::to_owned),
        tool_use: tool_use.map(str::to_owned),
    })
}

/// A token's text: a string, or an object with the text as `content`.
fn token<'a>(fields: &'a Fields, key: &str) -> Result<Option<&'a str>> {
    match fields.get(key) {
        Some(Json::Object(token)) => token.text(FILE, "content"),
        _ => fields.text(FILE, key),
    }
}

/// The template of all chats, and that of chats with tools.
fn templates(fields: &Fields) -> Result<(Option<&str>, Option<&str>)> {
    let Some(Json::List(items)) = fields.get("chat_template") else {
        return Ok((fields.text(FILE, "chat_template")?, None));
    };
    let (mut default, mut tool_use, mut only) = (None, None, None);
    for item in items {
        let Json::Object(item) = item else {
            return Err(FormatError::malformed(
                FILE,
                "chat_template is a list of other things than templates",
            ));
        };
        only = item.text(FILE, "template")?;
        match item.text(FILE, "name")? {
            Some("default") => default = only,
            Some("tool_use") => tool_use = only,
            _ => {}
        }
    }
    Ok((default.or(only.filter(|_| items.len() == 1)), tool_use))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_strings_or_objects() {
        let text = r#"{"bos_token": "<s>", "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": false},
            "added_tokens_decoder": {"0": {"content": "x"}}, "chat_template": "{{ messages }}"}"#;
        let config = parse(text.as_bytes()).unwrap();
        assert_eq!(config.bos_token.as_deref(), Some("<s>"));
        assert_eq!(config.eos_token.as_deref(), Some("</s>"));
        assert_eq!(config.chat_template.as_deref(), Some("{{ messages }}"));
        let null = parse(b"{\"bos_token\": null}").unwrap();
        assert_eq!(null, TokenizerConfig::default());
    }

    #[test]
    fn of_named_templates_two_count() {
        let list = |names: &[&str]| {
            let items: Vec<_> = names
                .iter()
                .map(|name| format!(r#"{{"name": "{name}", "template": "of {name}"}}"#))
                .collect();
            let config = parse(format!(r#"{{"chat_template": [{}]}}"#, items.join(", ")).as_bytes()).unwrap();
            let template = config.into_template(None, None);
            template.map(|template| (template.source, template.tool_use))
        };
        let of =
            |source: &str, tool_use: Option<&str>| Some((source.to_owned(), tool_use.map(str::to_owned)));
        assert_eq!(list(&["tool_use", "default", "rag"]), of("of default", Some("of tool_use")));
        assert_eq!(list(&["rag", "default"]), of("of default", None));
        assert_eq!(list(&["tool_use"]), of("of tool_use", Some("of tool_use")));
        assert_eq!(list(&["rag"]), of("of rag", None));
        assert_eq!(list(&["rag", "other"]), None);
    }

    #[test]
    fn wrong_types_and_sizes_are_refused() {
        for text in [r#"{"bos_token": 3}"#, r#"{"chat_template": ["x"]}"#, r#"{"chat_template": {}}"#] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let long = format!(r#"{{"chat_template": "{}"}}"#, "x".repeat(MAX_TEMPLATE as usize + 1));
        assert!(matches!(parse(long.as_bytes()), Err(FormatError::TooLarge { .. })));
    }

    #[test]
    fn the_folder_s_own_template_goes_first() {
        let config = parse(br#"{"bos_token": "<s>", "chat_template": "inner"}"#).unwrap();
        assert_eq!(config.clone().into_template(None, None).unwrap().source, "inner");
        let template = config.into_template(Some("outer".into()), Some("tools".into())).unwrap();
        assert_eq!(template.tool_use.as_deref(), Some("tools"));
        assert_eq!((template.source.as_str(), template.bos_token.as_deref()), ("outer", Some("<s>")));
    }
}
