#!/usr/bin/env python3
"""embed.py OBJECT SOURCE NAME: the bytes of a file as a C array, so that no file must be found at run time."""
import sys

data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "w") as out:
    out.write("/* Made by dataplane/bpf/embed.py. */\n#include <stddef.h>\n\n#include \"dataplane/bpf/object.h\"\n\n")
    out.write("_Alignas(8) const unsigned char %s[] = {\n" % sys.argv[3])
    for i in range(0, len(data), 24):
        out.write("    " + "".join("%d," % b for b in data[i:i + 24]) + "\n")
    out.write("};\nconst size_t %s_bytes = sizeof(%s);\n" % (sys.argv[3], sys.argv[3]))
