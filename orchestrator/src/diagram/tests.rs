//! Every rule of the language.
