//! Rules that objects must keep, with upstream's words for those that they break.
