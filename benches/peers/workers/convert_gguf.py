"""llama.cpp's own converter on a folder whose tokenizer is none that it knows.

    python convert_gguf.py LLAMA_CPP FOLDER OUT.gguf
"""

import sys

llama_cpp, folder, out = sys.argv[1:]
sys.path.insert(0, llama_cpp)
import convert_hf_to_gguf  # noqa: E402
from conversion.base import TextModel  # noqa: E402

# The converter knows tokenizers by a hash; ours splits words as this one does.
TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
sys.argv = [convert_hf_to_gguf.__file__, folder, "--outtype", "bf16", "--outfile", out]
convert_hf_to_gguf.main()
