/* A stand-in for CUDA's driver: it writes down what it is asked, and runs nothing.

   STAND_IN_LOG names a file that gets a line for each call, STAND_IN_FAIL="cuLaunchKernel 719" makes
   one fail. Launches are written with the bytes of every parameter, as many as the code declares:
   a cubin in its section .nv.info.<entry>, code that begins with "FAKE" right behind that word. */

#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { SUCCESS, INVALID_VALUE = 1, INVALID_IMAGE = 200, NOT_FOUND = 500, PARAMETERS = 64 };
enum { KPARAM_INFO = 0x17, SIZED = 4 };

typedef struct {
    const unsigned char *image;
} Module;

typedef struct {
    char entry[256];
    unsigned count, size[PARAMETERS];
} Function;

static _Thread_local void *current; /* none at first, as in a new thread of CUDA's */

static FILE *begin(const char *call)
{
    const char *path = getenv("STAND_IN_LOG");
    FILE *log = fopen(path ? path : "/dev/null", "a");
    if (!log)
        abort();
    fprintf(log, "%s", call);
    return log;
}

static int end(FILE *log, const char *call)
{
    const char *fail = getenv("STAND_IN_FAIL");
    size_t length = strlen(call);
    int status = SUCCESS;
    if (fail && !strncmp(fail, call, length) && fail[length] == ' ')
        status = atoi(fail + length);
    fprintf(log, "\n");
    fclose(log);
    return status;
}

EXPORT int cuInit(unsigned flags) { return end(begin("cuInit"), "cuInit"); }

EXPORT int cuCtxGetCurrent(void **context)
{
    *context = current;
    return end(begin("cuCtxGetCurrent"), "cuCtxGetCurrent");
}

EXPORT int cuDevicePrimaryCtxRetain(void **context, int device)
{
    FILE *log = begin("cuDevicePrimaryCtxRetain");
    *context = (void *)(uintptr_t)(0x1000 + device);
    fprintf(log, " %d", device);
    return end(log, "cuDevicePrimaryCtxRetain");
}

EXPORT int cuCtxSetCurrent(void *context)
{
    current = context;
    return end(begin("cuCtxSetCurrent"), "cuCtxSetCurrent");
}

EXPORT int cuModuleLoadData(Module **module, const void *image)
{
    FILE *log = begin("cuModuleLoadData");
    if (memcmp(image, ELFMAG, 4) && memcmp(image, "FAKE", 4)) {
        end(log, "cuModuleLoadData");
        return INVALID_IMAGE;
    }
    *module = calloc(1, sizeof **module);
    (*module)->image = image; /* the test keeps the bytes: a driver would copy them */
    return end(log, "cuModuleLoadData");
}

static int of_cubin(const unsigned char *image, Function *f)
{
    const Elf64_Ehdr *header = (const void *)image;
    const Elf64_Shdr *section = (const void *)(image + header->e_shoff);
    const char *names = (const char *)image + section[header->e_shstrndx].sh_offset;
    char wanted[300];
    snprintf(wanted, sizeof wanted, ".nv.info.%s", f->entry);
    for (int i = 0; i < header->e_shnum; i++) {
        if (strcmp(names + section[i].sh_name, wanted))
            continue;
        const unsigned char *at = image + section[i].sh_offset, *stop = at + section[i].sh_size;
        while (at < stop) { /* format, attribute, 16 bits: a value, or the size of what follows */
            uint16_t size;
            memcpy(&size, at + 2, 2);
            if (at[0] == SIZED && at[1] == KPARAM_INFO) { /* index, ordinal, offset, flags */
                uint16_t ordinal;
                uint32_t flags;
                memcpy(&ordinal, at + 8, 2);
                memcpy(&flags, at + 12, 4);
                f->size[ordinal] = flags >> 18;
                f->count = ordinal + 1u > f->count ? ordinal + 1u : f->count;
            }
            at += 4 + (at[0] == SIZED ? size : 0);
        }
        return SUCCESS;
    }
    return NOT_FOUND;
}

EXPORT int cuModuleGetFunction(Function **function, Module *module, const char *name)
{
    FILE *log = begin("cuModuleGetFunction");
    Function *f = *function = calloc(1, sizeof **function);
    int status = SUCCESS;
    snprintf(f->entry, sizeof f->entry, "%s", name);
    if (memcmp(module->image, "FAKE", 4))
        status = of_cubin(module->image, f);
    else {
        memcpy(&f->count, module->image + 4, 4);
        memcpy(f->size, module->image + 8, 4 * f->count);
    }
    fprintf(log, " %s", name);
    int asked = end(log, "cuModuleGetFunction");
    return asked ? asked : status;
}

EXPORT int cuFuncSetAttribute(Function *f, int attribute, int value)
{
    FILE *log = begin("cuFuncSetAttribute");
    fprintf(log, " %s %d %d", f->entry, attribute, value);
    return end(log, "cuFuncSetAttribute");
}

EXPORT int cuFuncGetAttribute(int *value, int attribute, Function *f)
{
    FILE *log = begin("cuFuncGetAttribute");
    fprintf(log, " %s %d", f->entry, attribute);
    *value = 32;
    return end(log, "cuFuncGetAttribute");
}

EXPORT int cuFuncSetCacheConfig(Function *f, int config)
{
    FILE *log = begin("cuFuncSetCacheConfig");
    fprintf(log, " %s %d", f->entry, config);
    return end(log, "cuFuncSetCacheConfig");
}

EXPORT int cuLaunchKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                          unsigned by, unsigned bz, unsigned shared, void *stream, void **params,
                          void **extra)
{
    FILE *log = begin("cuLaunchKernel");
    fprintf(log, " %s %u %u %u %u %u %u %u %p %d", f->entry, gx, gy, gz, bx, by, bz, shared, stream,
            extra != NULL);
    for (unsigned i = 0; i < f->count; i++) {
        uint64_t value = 0;
        memcpy(&value, params[i], f->size[i]);
        fprintf(log, " %u:%llx", f->size[i], (unsigned long long)value);
    }
    return end(log, "cuLaunchKernel");
}

EXPORT int cuGetErrorName(int status, const char **name)
{
    *name = "?";
    return SUCCESS;
}

static const struct {
    const char *name;
    void *function;
} KNOWN[] = {
    {"cuInit", cuInit},
    {"cuCtxGetCurrent", cuCtxGetCurrent},
    {"cuCtxSetCurrent", cuCtxSetCurrent},
    {"cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain},
    {"cuModuleLoadData", cuModuleLoadData},
    {"cuModuleGetFunction", cuModuleGetFunction},
    {"cuFuncSetAttribute", cuFuncSetAttribute},
    {"cuFuncGetAttribute", cuFuncGetAttribute},
    {"cuFuncSetCacheConfig", cuFuncSetCacheConfig},
    {"cuLaunchKernel", cuLaunchKernel},
    {"cuGetErrorName", cuGetErrorName},
};

EXPORT int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
                               int *status)
{
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (!strcmp(symbol, KNOWN[i].name)) {
            *function = KNOWN[i].function;
            if (status)
                *status = 0;
            return SUCCESS;
        }
    *function = NULL;
    if (status)
        *status = 1; /* no such symbol */
    return NOT_FOUND;
}

EXPORT int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
