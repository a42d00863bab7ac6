//! What the program says, in the words of its options: the library knows settings by Hugging Face's names.

/// Settings, and the options that set them.
const OPTIONS: [(&str, &str); 22] = [
    ("learning_rate", "--lr"),
    ("lr_scheduler_type", "--schedule"),
    ("warmup_steps", "--warmup-steps"),
    ("weight_decay", "--weight-decay"),
    ("max_grad_norm", "--max-grad-norm"),
    ("num_train_epochs", "--epochs"),
    ("max_steps", "--max-steps"),
    ("per_device_train_batch_size", "--batch-size"),
    ("gradient_accumulation_steps", "--grad-accum"),
    ("gradient_checkpointing", "--gradient-checkpointing"),
    ("group_by_length", "--group-by-length"),
    ("max_length", "--max-length"),
    ("eval_steps", "--eval-steps"),
    ("eval_split", "--eval-split"),
    ("save_steps", "--save-steps"),
    ("r", "--rank"),
    ("lora_alpha", "--alpha"),
    ("lora_dropout", "--dropout"),
    ("target_modules", "--target-modules"),
    ("max_new_tokens", "--max-new-tokens"),
    ("top_k", "--top-k"),
    ("top_p", "--top-p"),
];

/// What the library can only say in general, and what that is here.
const PHRASES: [(&str, &str); 3] = [
    ("turn assistant_only_loss off to train on all tokens", "--train-on-all trains on all tokens"),
    (
        "columns with other names can be mapped to these",
        "name columns that are called something else with --columns, as in --columns \
         prompt=question,completion=answer",
    ),
    ("name it by data format", "name it with --data-format"),
];

/// Files whose fields have the settings' names: what is wrong in one of them is said in its own words.
const FILES: [&str; 4] = ["adapter_config.json", "trainer_state.json", "generation_config.json", "run.json"];

/// A message of the library's in terms of the options.
pub fn in_options(message: &str) -> String {
    if FILES.iter().any(|file| message.contains(file)) {
        return message.to_owned();
    }
    let text = PHRASES.iter().fold(message.to_owned(), |text, (said, here)| text.replace(said, here));
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // Words, and what is between them.
    let parts = text.split_inclusive(|c| !is_word(c)).flat_map(|part| {
        let end = part.len() - part.chars().next_back().filter(|&c| !is_word(c)).map_or(0, char::len_utf8);
        [&part[..end], &part[end..]]
    });
    let (mut said, mut before) = (String::new(), ' ');
    for part in parts {
        let option = OPTIONS.iter().find(|(name, _)| *name == part);
        // Part of a path or of another name, or quoted: not the setting.
        let option = option.filter(|_| before.is_whitespace() || before == '(');
        said += option.map_or(part, |(_, option)| option);
        before = part.chars().next_back().unwrap_or(before);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_called_by_their_options() {
        for (said, here) in [
            ("learning_rate is -1; expected 0 or more", "--lr is -1; expected 0 or more"),
            ("r is 0; expected a rank of 1 or more", "--rank is 0; expected a rank of 1 or more"),
            (
                "1 begins with too many tokens (raise max_length)",
                "1 begins with too many tokens (raise --max-length)",
            ),
            ("cut to 32 tokens, max_length.", "cut to 32 tokens, --max-length."),
            (
                "some/r is 3, max_length_2 and \"r\" and r/x",
                "some/r is 3, max_length_2 and \"r\" and --rank/x",
            ),
            ("adapter_config.json: lora_alpha is \"a\"", "adapter_config.json: lora_alpha is \"a\""),
            ("ünïcode – max_steps…", "ünïcode – --max-steps…"),
        ] {
            assert_eq!(in_options(said), here);
        }
        let phrases = PHRASES.map(|(said, _)| in_options(said));
        assert!(phrases.iter().all(|here| here.contains("--")), "{phrases:?}");
    }
}
