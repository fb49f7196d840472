//! Token ids back to text, for people.

use super::Encoder;

impl Encoder {
    /// The text of these tokens, special ones included. An id that no token has is left out, and bytes that are no
    /// whole character become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, false).unwrap_or_default()
    }

    /// The token of this id as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// How many tokens there are, added ones included.
    pub fn tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}
