/**
 * Text from a file as it may be shown: what drives a terminal, breaks its lines or turns its direction of writing becomes \u001b and the like,
 * so that no name in a stranger's data does more than to be read.
 */
export const printable = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`);
