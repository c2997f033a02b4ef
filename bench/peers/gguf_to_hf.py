"""A GGUF as a folder that Hugging Face's programs read, its weights made bfloat16.

usage: gguf_to_hf.py MODEL.gguf FOLDER [float32]        with the Python of build/peers/transformers
"""
import os
import sys

import torch
import transformers


def main():
    model, out = sys.argv[1:3]
    dtype = torch.float32 if sys.argv[3:] == ["float32"] else torch.bfloat16
    where = {"pretrained_model_name_or_path": os.path.dirname(os.path.abspath(model)), "gguf_file": os.path.basename(model)}
    quantized = transformers.GgufConfig(dequantize=True)
    weights = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, quantization_config=quantized)
    transformers.AutoTokenizer.from_pretrained(**where).save_pretrained(out + ".part")
    weights.to(dtype).save_pretrained(out + ".part")
    os.rename(out + ".part", out)


if __name__ == "__main__":
    main()
